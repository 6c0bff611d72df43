"""A cluster of Slurm on this machine: three nodes with fake GPUs, two partitions, accounting, and two users.

The daemons run in the foreground as children of the tests, listen on this machine alone, and end with them. What they
keep lies in one folder, so that a second start takes two seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

HOME = Path("/var/tmp/thon-slurm")
PORT = 18810
USERS = ("thon-ada", "thon-bob")
NODES = ("thon-n1", "thon-n2", "thon-n3")
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "srun", "setpriv")


class MissingError(Exception):
    """Slurm cannot be run here."""


def check() -> None:
    """Refuse a machine on which Slurm cannot be run.

    Raises:
        MissingError: Something is not there.
    """
    if os.geteuid() != 0:
        raise MissingError("Slurm's daemons must be started by root")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        raise MissingError(f"{', '.join(missing)} not installed (make services)")
    try:
        for user in USERS:
            pwd.getpwnam(user)
        for node in NODES:
            socket.gethostbyname(node)
    except (KeyError, OSError) as error:
        raise MissingError(f"users and nodes are not set up (make services): {error}") from error


@contextlib.contextmanager
def running() -> Generator[Cluster]:
    """A cluster, which is ended afterwards; one at a time on this machine.

    Raises:
        MissingError: It cannot be run.
    """
    check()
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(HOME)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class Cluster:
    """The daemons. Jobs of an earlier start are forgotten, and their numbers do not come again.

    Args:
        home: Where they keep what they must.
    """

    def __init__(self, home: Path):
        self.home = home
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._socket = home / "munge" / "socket"

    @property
    def environment(self) -> dict[str, str]:
        """What commands of Slurm need to find it."""
        return {"SLURM_CONF": str(self.home / "etc" / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def start(self) -> None:
        """Start all daemons, and wait until every node is ready."""
        self._folders()
        self._configure()
        self._munge()
        self._accounts()
        self._spawn("slurmctld", ["slurmctld", "-D", "-c"])
        self.wait(lambda: self.call("scontrol", "ping"))
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: self._ready() == set(NODES))

    def stop(self) -> None:
        """End all daemons, those that run jobs first."""
        with contextlib.suppress(subprocess.SubprocessError, OSError, MissingError):
            for user in ("root", *USERS):
                self.call("scancel", f"--user={user}")
            self.wait(lambda: not self.say("squeue", "-h"), 5)
        for name in reversed(self._daemons):
            process = self._daemons[name]
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._daemons.clear()

    def start_node(self, name: str) -> None:
        """Start a node, as after a reboot."""
        (self.home / "spool" / name).mkdir(parents=True, exist_ok=True)
        self._spawn(name, ["slurmd", "-D", "-N", name])
        self.wait(lambda: self.call("scontrol", "ping"))
        self.call("scontrol", "update", f"nodename={name}", "state=resume")

    def kill_node(self, name: str) -> None:
        """Let a node die, with all that runs on it: first its daemons, which could tell of the end of the others."""
        mark = f"SLURMD_NODENAME={name}".encode()
        self._daemons[name].kill()
        self._daemons.pop(name).wait()
        found = [int(process.name) for process in Path("/proc").glob("[0-9]*") if mark in _environment(process)]
        steps = {step for process in found if (step := _step_of(process))}
        for process in (*steps, *found):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def await_node(self, name: str) -> None:
        """Wait until a node takes jobs."""
        self.wait(lambda: name in self._ready())

    def call(self, *command: str) -> bool:
        """Run a command; whether it succeeded."""
        return self._run(command).returncode == 0

    def say(self, *command: str) -> str:
        """What a command says."""
        return self._run(command).stdout.decode().strip()

    def wait(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for a condition.

        Raises:
            MissingError: It does not come true.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [name for name, process in self._daemons.items() if process.poll() is not None]
            if time.monotonic() > deadline or dead:
                raise MissingError(f"Slurm does not run: {', '.join(dead) or 'it is slow'}; see {self.home}/log")
            time.sleep(0.1)

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False)

    def _ready(self) -> set[str]:
        return set(self.say("sinfo", "-h", "-N", "-p", "main", "-t", "idle,mix,alloc", "-o", "%N").split())

    def _spawn(self, name: str, command: Sequence[str], user: str = "") -> None:
        # Without its parent a daemon is to end too; `setpriv` says so to the kernel.
        who = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        with (self.home / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *who, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    def _folders(self) -> None:
        owners = {"etc": "root", "log": "root", "spool": "root", "dev": "root", "home": "root"}
        owners |= {"state": "slurm", "munge": "munge", "sql": "mysql"}
        self.home.chmod(0o755)
        for name, owner in owners.items():
            (self.home / name).mkdir(exist_ok=True)
            shutil.chown(self.home / name, owner, owner)
        for user in USERS:
            (self.home / "home" / user).mkdir(exist_ok=True)
            shutil.chown(self.home / "home" / user, user, user)
        for k in range(2):
            gpu = self.home / "dev" / f"nvidia{k}"
            if not gpu.exists():
                os.mknod(gpu, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # as /dev/null is

    def _configure(self) -> None:
        host, home = platform.node().split(".")[0], self.home
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORT + 20 + k} CPUs=4 RealMemory=8000 "
            "Gres=gpu:h200:2 State=UNKNOWN"
            for k, name in enumerate(NODES)
        )
        (home / "etc" / "slurm.conf").write_text(
            f"""ClusterName=thon
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={PORT + 7}
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={self._socket}
CommunicationParameters=NoInAddrAny
FirstJobId={int(time.time()) % 60_000_000}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool/%n
SlurmctldPidFile={home}/state/slurmctld.pid
SlurmdPidFile={home}/spool/slurmd.%n.pid
SlurmctldLogFile={home}/state/slurmctld.log
SlurmdLogFile={home}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=2,defer_batch
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
SlurmdTimeout=5
KillWait=5
SlurmdParameters=config_overrides
GresTypes=gpu
AccountingStorageTRES=gres/gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={PORT + 9}
AccountingStoragePass={self._socket}
AccountingStoreFlags=job_comment
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=100 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=spot Nodes=ALL MaxTime=INFINITE DefMemPerCPU=100 PriorityTier=1 PreemptMode=REQUEUE GraceTime=15 State=UP
PartitionName=closed Nodes=ALL MaxTime=INFINITE DefMemPerCPU=100 State=DOWN
"""
        )
        (home / "etc" / "gres.conf").write_text(f"Name=gpu Type=h200 File={home}/dev/nvidia[0-1]\n")
        file = home / "etc" / "slurmdbd.conf"
        file.write_text(
            f"""AuthType=auth/munge
AuthInfo=socket={self._socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={PORT + 9}
SlurmUser=slurm
PidFile={home}/state/slurmdbd.pid
LogFile={home}/state/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={PORT + 11}
StorageUser=slurm
StoragePass=thon
StorageLoc=slurm
"""
        )
        shutil.chown(file, "slurm", "slurm")
        file.chmod(0o600)

    def _munge(self) -> None:
        folder = self.home / "munge"
        key = folder / "key"
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
        for old in folder.glob("socket*"):
            old.unlink()
        files = {"socket": self._socket, "key-file": key, "pid-file": folder / "pid", "log-file": folder / "log"}
        words = [f"--{name}={file}" for name, file in files.items()]
        self._spawn("munged", ["munged", "-F", f"--seed-file={folder}/seed", *words], user="munge")
        self.wait(lambda: self.call("munge", "-S", str(self._socket), "-n"))

    def _accounts(self) -> None:
        """MariaDB, and Slurm's own daemon before it."""
        data, place = self.home / "sql", str(self.home / "sql" / "socket")
        if not (data / "mysql").exists():
            self.call("mariadb-install-db", "--user=mysql", f"--datadir={data}", "--skip-test-db")
        listen = ["--bind-address=127.0.0.1", f"--port={PORT + 11}", f"--socket={place}", f"--pid-file={data}/pid"]
        quick = [
            "--innodb-buffer-pool-size=32M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        self._spawn("mariadbd", ["mariadbd", "--no-defaults", f"--datadir={data}", *listen, *quick], user="mysql")
        ask = ("mariadb", "--no-defaults", f"--socket={place}", "-e")
        self.wait(lambda: self.call(*ask, "select 1"))
        for host in ("127.0.0.1", "localhost"):
            self.call(*ask, f"create user if not exists slurm@'{host}' identified by 'thon'")
            self.call(*ask, f"grant all on slurm.* to slurm@'{host}'")
        self.call(*ask, "create database if not exists slurm")
        self._spawn("slurmdbd", ["slurmdbd", "-D"])
        self.wait(lambda: self.call("sacctmgr", "-n", "show", "cluster"))
        if "thon" not in self.say("sacctmgr", "-n", "list", "cluster", "thon", "format=cluster"):
            self.call("sacctmgr", "-i", "add", "cluster", "thon")
            for user in USERS:
                self.call("sacctmgr", "-i", "add", "account", user, "cluster=thon")
                self.call("sacctmgr", "-i", "add", "user", user, f"account={user}")


def _environment(process: Path) -> list[bytes]:
    """The environment variables of a process; none of one that is gone."""
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _step_of(process: int) -> int:
    """The daemon of Slurm's step that a process belongs to; 0 where there is none."""
    while process > 1:
        try:
            name, _, rest = Path(f"/proc/{process}/stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return 0
        if name == "slurmstepd":
            return process
        process = int(rest.split()[1])
    return 0
