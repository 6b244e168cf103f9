"""The words that an inventory adds to ssh's command line: what they say of where and as whom, and what is not read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

SWITCHES = "46AaCfGgKkMNnqsTtVvXxYy"
"""ssh(1): the options without a value; all others have one."""
KEYWORDS = {"p": "Port", "l": "User", "i": "IdentityFile", "J": "ProxyJump"}
READ = {
    "hostname": "host",
    "port": "port",
    "user": "user",
    "identityfile": "key",
    "proxyjump": "jump",
    "-F": "config",
    "userknownhostsfile": "known_hosts",
}
"""Keywords of ssh_config(5), and -F: what of a login they decide."""
WITHOUT_A_PLACE = ("-A", "-a", "-C", "-K", "-k", "-q", "-T", "-t", "-v", "-X", "-x", "-Y", "-y")
"""Switches that decide neither where nor as whom."""
ELSEWHERE = frozenset(
    (  # noqa: SIM905, a word a line is forty lines
        "addkeystoagent batchmode checkhostip clearallforwardings compression connectionattempts connecttimeout "
        "controlmaster controlpath controlpersist exitonforwardfailure forwardagent forwardx11 forwardx11trusted "
        "globalknownhostsfile gssapiauthentication gssapidelegatecredentials hashknownhosts identitiesonly ipqos "
        "kbdinteractiveauthentication challengeresponseauthentication loglevel numberofpasswordprompts "
        "passwordauthentication permitlocalcommand preferredauthentications pubkeyauthentication rekeylimit "
        "requesttty sendenv serveralivecountmax serveraliveinterval setenv stricthostkeychecking tcpkeepalive "
        "updatehostkeys verifyhostkeydns visualhostkey "
    ).split()
)
"""Keywords that decide neither where nor as whom. Host keys are checked whatever StrictHostKeyChecking says."""
NOTHING = (
    ("userknownhostsfile", "/dev/null"),
    ("userknownhostsfile", "none"),
    ("proxycommand", "none"),
    ("proxyjump", "none"),
)


@dataclass
class Words:
    """What ssh's words `said`, by the names in READ; and the words that were `unread`."""

    said: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_words(text: str) -> Words:
    """The words of ansible_ssh_common_args and the like. Raises ValueError where no shell could split them."""
    return take(options(shlex.split(text)))


def take(found: Iterator[tuple[str, str]]) -> Words:
    """Sort options by what they decide. Of two the first counts, as with ssh."""
    words = Words()
    for option, value in found:
        keyword = option if option.startswith("-") else option.lower()
        said = decided(keyword, value)
        if said is None:
            words.unread.append(f"{option} by several machines" if keyword == "proxyjump" and "," in value else option)
        elif said:
            name, meant = said
            if name == "key" and name in words.said:
                words.unread.append(option)
            words.said.setdefault(name, meant)
    return words


def decided(keyword: str, value: str) -> tuple[str, str] | tuple[()] | None:
    """What an option decides, by the names in READ, and how; () for one that decides nothing of that kind, None for one
    that cannot be read."""
    if keyword in WITHOUT_A_PLACE or keyword in ELSEWHERE:
        return ()
    if (keyword, value.lower()) in NOTHING:
        return ()
    if keyword == "proxycommand":
        name, value = "jump", jump_of(value)
    else:
        name, value = READ.get(keyword, ""), value.removeprefix("ssh://")
    return (name, value) if name and value and not re.search("[ ,%]", value) else None


def options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keyword and value of each option; `-X` for those that are no keyword of ssh_config(5).

    A word that is no option is itself a keyword, with no value.
    """
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or word == "-":
            yield word, ""
            continue
        letters = word[1:]
        while letters and letters[0] in SWITCHES:
            yield f"-{letters[0]}", ""
            letters = letters[1:]
        if not letters:
            continue
        value = letters[1:] or (waiting.pop(0) if waiting else "")
        if letters[0] == "o":
            keyword, value = (*re.split(r"\s*=\s*|\s+", value.strip(), maxsplit=1), "")[:2]
            yield keyword, value.strip('"')
        else:
            yield KEYWORDS.get(letters[0], f"-{letters[0]}"), value


def jump_of(command: str) -> str:
    """The machine that a ProxyCommand goes through: `ssh [-p PORT] -W %h:%p [USER@]HOST`; "" for any other command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if words[:1] != ["ssh"]:
        return ""
    found = list(options(words[1:]))
    hosts = [keyword for keyword, value in found if not value and not keyword.startswith("-")]
    forward = [value for keyword, value in found if keyword == "-W"]
    inner = take((keyword, value) for keyword, value in found if keyword not in ("-W", *hosts))
    if (
        len(hosts) != 1
        or forward not in (["%h:%p"], ["[%h]:%p"])
        or inner.unread
        or inner.said.keys() - {"port", "user"}
    ):
        return ""
    user = "" if "@" in hosts[0] else f"{inner.said['user']}@" if "user" in inner.said else ""
    return f"{user}{hosts[0]}" + (f":{inner.said['port']}" if "port" in inner.said else "")
