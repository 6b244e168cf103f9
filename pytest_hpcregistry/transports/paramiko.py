"""ssh in Python, for workstations without an OpenSSH client. The one home of paramiko.

It knows host, port, user, key and jump of the cluster file, and the user's agent; not ssh_config.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import shlex
import socket
import threading
import time
from typing import BinaryIO

import paramiko
from paramiko.ssh_exception import NoValidConnectionsError

from ..core.errors import CommandFailed, CommandTimeout, Unreachable
from ..core.model import Cluster
from ..core.names import excerpt
from . import Command, CommandResult, Transport
from .frame import framed, new_mark, printed
from .process import Refused, Stream
from .ssh import hint_for

CHUNK = 256 * 1024


class ParamikoTransport(Transport):
    """The controller, through one paramiko connection, opened by the first command."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = cluster.controller.name
        self.clients: list[paramiko.SSHClient] = []
        self.opening = threading.Lock()

    def execute(self, command: Command) -> CommandResult:
        """See Transport."""
        began, shown = time.monotonic(), excerpt(shlex.join(command.argv), 200)
        channel = self.open_channel()
        mark = new_mark()
        output = Stream("standard output", command.stdout, command.on_line, printed(mark))
        errors = Stream("standard error")
        try:
            channel.exec_command(framed(command.argv, mark))
            feeder = threading.Thread(target=feed, args=(channel, command.stdin), daemon=True)
            feeder.start()
            drain(channel, output, errors, began + command.timeout)
        except TimeoutError:
            raise CommandTimeout(f"{shown} still ran after {command.timeout:g} s", where=self.name) from None
        except Refused as refused:
            raise CommandFailed(f"{shown}: {refused}", where=self.name) from refused.__cause__
        except (paramiko.SSHException, OSError) as error:
            raise Unreachable(f"the connection broke: {excerpt(str(error))}", where=self.name) from error
        finally:
            channel.close()
        seconds = time.monotonic() - began
        code = channel.recv_exit_status()
        if code == -1:  # no exit status came: the connection broke, or the command was ended by a signal
            transport = channel.get_transport()
            if not transport.is_active():
                raise Unreachable("the connection broke before the command ended", where=self.name)
            code = 255  # as ssh(1) has it
        output.must_have_begun(self.name, code)
        said = errors.text() or output.before()
        return CommandResult(self.name, tuple(command.argv), code, output.text(), said, seconds)

    def open_channel(self) -> paramiko.Channel:
        with self.opening:
            if not self.clients:
                self.connect()
            transport = self.clients[-1].get_transport()
        if transport is None:
            raise Unreachable("the connection is closed", where=self.name)
        try:
            return transport.open_session(timeout=self.cluster.ssh.connect_timeout)
        except (paramiko.SSHException, OSError) as error:
            raise Unreachable(excerpt(str(error)), where=self.name) from error

    def connect(self) -> None:
        controller, through = self.cluster.controller, None
        if controller.jump:
            hop = controller.jump
            jump = self.connect_to(hop.host, hop.port or 22, hop.user or getpass.getuser(), None)
            transport = jump.get_transport()
            assert transport is not None
            try:
                through = transport.open_channel("direct-tcpip", (controller.host, controller.port or 22), ("", 0))
            except (paramiko.SSHException, OSError) as error:
                raise Unreachable(
                    f"jump host {hop.host} cannot reach it: {excerpt(str(error))}", where=self.name
                ) from error
        self.connect_to(controller.host, controller.port or 22, controller.user, through)

    def connect_to(self, host: str, port: int, user: str, through: paramiko.Channel | None) -> paramiko.SSHClient:
        """Connect one hop, with its host key checked: an unknown or a changed one is refused."""
        ssh = self.cluster.ssh
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if ssh.known_hosts:
            client.load_host_keys(str(ssh.known_hosts))
        else:
            client.load_system_host_keys()
        key = self.cluster.controller.key
        try:
            client.connect(
                host,
                port,
                user,
                key_filename=str(key) if key else None,
                look_for_keys=key is None,
                allow_agent=key is None,
                timeout=ssh.connect_timeout,
                banner_timeout=ssh.connect_timeout,
                auth_timeout=ssh.connect_timeout,
                sock=through,
            )
        except (paramiko.SSHException, OSError) as error:
            client.close()
            why = reason(error)
            raise Unreachable(why, where=self.name, hint=hint_for(why, f"{user}@{host}")) from error
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in reversed(self.clients):
            client.close()
        self.clients.clear()


def reason(error: Exception) -> str:
    """Why, in the words that the OpenSSH transport uses too."""
    if isinstance(error, paramiko.BadHostKeyException):
        return "host key changed"
    if isinstance(error, paramiko.AuthenticationException):
        return "login refused"
    if isinstance(error, socket.gaierror):
        return "name is not known"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if "not found in known_hosts" in str(error):
        return "host key is not known"
    if isinstance(error, NoValidConnectionsError):  # one error for each address that the name has
        return reason(next(iter(error.errors.values())))
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no route"
    if "Error reading SSH protocol banner" in str(error):
        return "no answer in time"
    return excerpt(str(error))


def feed(channel: paramiko.Channel, stdin: bytes | BinaryIO | None) -> None:
    """Send all input, then end of file. A command that wants no more tells by its exit code whether it failed."""
    with contextlib.suppress(OSError):
        if isinstance(stdin, bytes):
            channel.sendall(stdin)
        elif stdin is not None:
            while chunk := stdin.read(CHUNK):
                channel.sendall(chunk)
        channel.shutdown_write()


def drain(channel: paramiko.Channel, output: Stream, errors: Stream, deadline: float) -> None:
    """Read both streams by turns (reading one to its end first deadlocks above the window, paramiko issue 1778)."""
    while True:
        idle = True
        if channel.recv_ready():
            output.take(channel.recv(CHUNK))
            idle = False
        if channel.recv_stderr_ready():
            errors.take(channel.recv_stderr(CHUNK))
            idle = False
        if idle and channel.exit_status_ready() and (channel.eof_received or channel.closed):
            output.end()
            errors.end()
            return
        if time.monotonic() >= deadline:
            raise TimeoutError
        if idle:
            time.sleep(0.005)
