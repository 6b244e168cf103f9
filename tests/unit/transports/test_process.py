"""Running programs on this machine: what is returned, what is refused, and that nothing is left running."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_hpcregistry.core.errors import CommandFailed, CommandTimeout, UsageError
from pytest_hpcregistry.transports import Command, Transport, process
from pytest_hpcregistry.transports.local import LocalTransport
from pytest_hpcregistry.transports.process import run_command, run_process


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def here() -> Transport:
    return LocalTransport()


def is_running(pid: int) -> bool:
    """Whether *pid* is a live process (a zombie is not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_result(here: Transport) -> None:
    result = here.run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), timeout=20)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert result.where == "this machine"
    assert 0 < result.seconds < 20


def test_arguments_reach_no_shell(here: Transport) -> None:
    words = ["a b", "$HOME", "`id`", "; echo x", "*", "", "new\nline", "'"]
    result = here.run([*python("import sys; print(ascii(sys.argv[1:]))"), *words], timeout=20)
    assert result.stdout.strip() == ascii(words)


def test_no_stdin_is_end_of_file(here: Transport) -> None:
    assert here.run(python("import sys; print(len(sys.stdin.read()))"), timeout=20).stdout == "0\n"


def test_death_by_signal_is_128_plus_its_number(here: Transport) -> None:
    assert here.run(python("import os; os.kill(os.getpid(), 9)"), timeout=20).exit_code == 128 + 9


def test_bytes_that_are_no_text(here: Transport) -> None:
    result = here.run(python("import sys; sys.stdout.buffer.write(b'a\\xff\\xfeb')"), timeout=20)
    assert result.stdout == "a\ufffd\ufffdb"


ECHO_ON_BOTH = """
import sys
data = sys.stdin.buffer.read()
sys.stderr.buffer.write(data)
sys.stdout.buffer.write(data)
"""
RELAY_ON_BOTH = """
import os
while chunk := os.read(0, 65536):
    for pipe in (1, 2):
        view = memoryview(chunk)
        while view:
            view = view[os.write(pipe, view):]
"""


@pytest.mark.parametrize("code", [ECHO_ON_BOTH, RELAY_ON_BOTH])
def test_megabytes_in_and_out_on_both_streams(here: Transport, code: str) -> None:
    data = b"0123456789abcdef" * (3 * 1024 * 1024 // 16)
    result = here.run(python(code), timeout=60, stdin=data)
    assert result.exit_code == 0
    assert result.stdout.encode() == data
    assert result.stderr.encode() == data


def test_a_file_in_and_a_file_out(here: Transport, tmp_path: Path) -> None:
    data = os.urandom(5 * 1024 * 1024)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        result = here.run(["cat"], timeout=60, stdin=source, stdout=target)
    assert result.check().stdout == ""
    assert (tmp_path / "out").read_bytes() == data


def test_a_sink_that_takes_little_at_a_time_loses_nothing(here: Transport) -> None:
    class Narrow(io.BytesIO):
        def write(self, chunk) -> int:  # type: ignore[no-untyped-def]
            return super().write(bytes(chunk[:1000]))

    sink = Narrow()
    here.run(python("print('x' * 100000)"), timeout=20, stdout=sink).check()
    assert len(sink.getvalue()) == 100001


def test_a_full_disk_under_the_output_is_an_error(here: Transport) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(CommandFailed, match="No space left"):
        here.run(python("print('x')"), timeout=20, stdout=full)


def test_lines_come_while_the_program_runs(here: Transport) -> None:
    code = "import sys, time\nprint('one', flush=True)\nsys.stdin.read(1)\nprint('two\\nthree', end='')"
    read_end, write_end = os.pipe()
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        if line == "one":
            # Only now may the program go on: a line kept back to the end would never come.
            os.write(write_end, b"x")
            os.close(write_end)

    with os.fdopen(read_end, "rb", buffering=0) as gate:
        shell = ["sh", "-c", 'exec "$@" < /proc/$PPID/fd/' + str(gate.fileno()), "sh", *python(code)]
        result = here.run(shell, timeout=20, on_line=on_line)
    assert result.check().stdout == ""
    assert seen == ["one", "two", "three"]


def test_an_error_in_the_callback_ends_the_program(here: Transport) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        here.run(python("import os, time; print(os.getpid(), flush=True); time.sleep(60)"), timeout=60, on_line=on_line)
    assert wait_until_gone(pids[0])


def test_deadline_ends_the_whole_group(here: Transport, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "child.wait()"
    )
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"this machine: .* still running after 1 s"):
        here.run(python(code), timeout=1)
    assert time.monotonic() - began < 10
    for pid in (tmp_path / "pids").read_text().split():
        assert wait_until_gone(int(pid))


def test_deadline_ends_a_program_that_ignores_sigterm(here: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_GRACE", 0.2)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(CommandTimeout):
        here.run(python(code), timeout=0.5)
    assert time.monotonic() - began < 5


def test_deadline_holds_while_output_never_stops(here: Transport, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as target, pytest.raises(CommandTimeout):
        here.run(["yes"], timeout=0.5, stdout=target)


def test_a_process_left_in_the_background_does_not_hold_us(here: Transport) -> None:
    began = time.monotonic()
    result = here.run(["sh", "-c", "sleep 60 & echo $!"], timeout=30)
    assert time.monotonic() - began < 5
    os.kill(int(result.stdout), signal.SIGKILL)


def test_input_that_the_program_does_not_want(here: Transport) -> None:
    assert here.run(["true"], timeout=20, stdin=b"x" * 10_000_000).exit_code == 0


def test_endless_output_is_refused(here: Transport) -> None:
    with pytest.raises(CommandFailed, match="more than 16 MiB on standard output"):
        here.run(["yes"], timeout=60)
    with pytest.raises(CommandFailed, match="more than 16 MiB on standard error"):
        here.run(["sh", "-c", "exec yes >&2"], timeout=60)


def test_a_line_without_end_is_refused(here: Transport) -> None:
    with pytest.raises(CommandFailed, match="more than 16 MiB"):
        here.run(["cat", "/dev/zero"], timeout=60, on_line=lambda line: None)


def test_missing_program_is_named(here: Transport) -> None:
    with pytest.raises(CommandFailed, match="no-such-program cannot be run: there is no such program") as caught:
        here.run(["no-such-program"], timeout=5)
    assert "install no-such-program" in caught.value.hint


def test_a_file_that_may_not_be_run(here: Transport, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(CommandFailed, match="Permission denied"):
        here.run([str(tmp_path / "plain")], timeout=5)


def test_nul_in_an_argument_is_wrong_use(here: Transport) -> None:
    with pytest.raises(UsageError, match="NUL"):
        here.run(["echo", "a\0b"], timeout=5)


def test_what_was_meant_is_shown_instead_of_the_way_there() -> None:
    result = run_command("c001", Command(["sh", "-c", "exit 4"], 5), shown=["hostname", "-f"])
    assert result.argv == ("hostname", "-f")
    with pytest.raises(CommandFailed, match="c001: hostname -f exited with 4"):
        result.check()


@pytest.mark.usefixtures("interruptible")
def test_interrupt_ends_the_group_and_goes_on_up(here: Transport) -> None:
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        # Like Ctrl-C at the terminal: the signal comes while run() waits.
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        here.run(["sh", "-c", "echo $$; sleep 60; true"], timeout=60, on_line=on_line)
    assert wait_until_gone(pids[0])


def test_what_runs_is_ended_and_nothing_is_started_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ENDING", threading.Event())
    monkeypatch.setattr(process, "STARTED", weakref.WeakSet())
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run_process, "here", ["sleep", "600"], timeout=700) for _ in range(2)]
        while len(process.started()) < 2:
            time.sleep(0.01)
        process.end_all()
        assert [one.result().exit_code for one in running] == [128 + signal.SIGTERM] * 2
    with pytest.raises(CommandFailed, match="not begun: this program is being ended"):
        run_process("here", ["true"], timeout=10)
