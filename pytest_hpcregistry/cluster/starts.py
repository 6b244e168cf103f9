"""Images started without a job, as a user does by hand: `apptainer exec` on each node that counts, in the login that
gathers the facts. It is what is proven of nodes on which no job was tried.
"""

from __future__ import annotations

from dataclasses import replace

from ..core.machine import Question
from ..core.model import Cluster
from ..images.running.container import LIMITED, MEMORY

SECONDS = 25
"""In which a container starts and ends; the agent ends what goes on (agent/facts.py, START)."""
# $1 is the registry, $2 an image. Jobs of others may run there: so the start gives way to them.
START = """
[ "$(id -u)" != 0 ] || { echo "no image is started by root"; exit 126; }
cd ~ 2> /dev/null || cd /
program=$(command -v apptainer || command -v singularity) || { echo "apptainer is not installed"; exit 127; }
exec nice prlimit --as="$0" "$program" --quiet exec "$1/$2" \\
    /bin/sh -c 'test -d /.singularity.d && echo "in $SINGULARITY_CONTAINER"'
"""


def ordinary_user(cluster: Cluster) -> str | None:
    """Who starts images; None where the cluster file names nobody but root."""
    user = cluster.slurm.run_as or cluster.controller.user
    return None if user == "root" else user


def add_to(question: Question, cluster: Cluster, only: str | None = None) -> Question:
    """The question with the start of each image of the catalog, or of *only* one; none without an ordinary user."""
    user = ordinary_user(cluster)
    if user is None:
        return question
    # runuser keeps the environment's HOME, which is root's.
    go_home = ["sh", "-c", f'HOME=~{user} && export HOME && exec "$@"', "sh"]
    words = ["sh", "-c", START, str(MEMORY), cluster.registry.path]
    with_errors = ["sh", "-c", 'exec "$@" 2>&1', "sh"]
    start = [*with_errors, "sh", "-c", LIMITED, str(SECONDS), "runuser", "-u", user, "--", *go_home, *words]
    return replace(question, start=start, started=[only] if only else None)
