"""What Linux takes from a process for good: files by Landlock, system calls by seccomp, resources by limits.

Landlock (docs.kernel.org/userspace-api/landlock.html) and seccomp filters (…/seccomp_filter.html) need neither root nor
a package, and what they took no program gives back. The numbers of system calls are those of the kernel's tables for
x86-64 and arm64. Standard library only: the guest imports this file before it loads a program.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Mapping, Sequence

__all__ = ["SUPPORTED", "hide_files", "landlock_version", "limit", "refuse_calls", "restrict"]

# (x86-64, arm64); None where the processor has no such call. Processes and programs first, then sockets, other
# processes and their priorities, shared memory and queues, namespaces and mounts, files' attributes, kernel interfaces.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "accept": (43, 202), "accept4": (288, 242),
    "bind": (49, 200), "listen": (50, 201),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440), "kcmp": (312, 272),
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    # Landlock knows files' contents, not their modes, owners, times and attributes.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "open_by_handle_at": (304, 265),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224),
}  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), 435, (234, 131), (302, 261)
_CLONE_THREAD, _X32 = 0x10000, 0x40000000
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _SECCOMP_FILTER, _SET_PARENT_DEATH_SIGNAL = 38, 22, 2, 1
_SET_DUMPABLE, _CAPABILITY_VERSION = 4, 0x20080522
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

SUPPORTED = platform.system() == "Linux" and platform.machine() in _MACHINES


def restrict(limits: Mapping[str, int], readable: Sequence[str] | None, parent: int | None) -> None:
    """Take all three from this process for good, and root's privileges with them.

    Args:
        limits: See ``limit``.
        readable: See ``hide_files``; None leaves the files as they are.
        parent: Process that this one ends with; None where it has a process table of its own.
    """
    limit(limits)
    if parent is not None and os.getppid() != parent:  # it ended before this process asked to be told
        os._exit(1)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    if readable is not None:
        hide_files(readable)
    refuse_calls()


def limit(limits: Mapping[str, int]) -> None:
    """Set limits of this process that it cannot raise again: ``{"CPU": 5}`` for RLIMIT_CPU.

    It ends with its parent, and no other process of this user may look into its memory.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    for name, value in limits.items():
        hard = value + (name == "CPU")  # at the hard limit comes SIGKILL, which tells nothing; a second before, SIGXCPU
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, hard))


def landlock_version() -> int:
    """Version of this kernel's Landlock; below 1 where it has none or may not be used."""
    return int(ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE, None, 0, 1)) if SUPPORTED else 0


def hide_files(readable: Sequence[str]) -> None:
    """Leave this process only what lies below these paths, to read and to load; nothing to write but /dev/null.

    Raises:
        OSError: This kernel has no Landlock.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = landlock_version()
    if version < 1:
        raise OSError(ctypes.get_errno(), "no Landlock")
    files = (1 << 13) - 1  # all rights of version 1; later versions added moving, truncating, device control
    for since, bit in ((2, 13), (3, 14), (5, 15)):
        files |= (1 << bit) if version >= since else 0
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    rules = struct.pack("=QQQ", files, network, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = libc.syscall(_LANDLOCK_CREATE, rules, len(rules), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    execute, write, read, read_folder = 1 << 0, 1 << 1, 1 << 2, 1 << 3
    for path, rights in [*((path, execute | read | read_folder) for path in readable), ("/dev/null", write | read)]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights &= files if os.path.isdir(path) else execute | write | read  # noqa: PTH112 - no pathlib in the guest
        rule = struct.pack("=Qi", rights, place)
        if libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0) < 0:
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(place)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def refuse_calls() -> None:
    """Refuse system calls: new processes and programs, sockets, whatever reaches another process or the kernel.

    Threads stay, and signals and limits of this process itself.

    Raises:
        OSError: This kernel has no filters.
    """
    column, architecture = _MACHINES[platform.machine()]
    code: list[tuple[int, int, int, int]] = [
        (0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, _KILL),  # another architecture's calls
        (0x20, 0, 0, 0), (0x35, 0, 1, _X32), (0x06, 0, 0, _KILL),  # the x32 table of calls
        (0x15, 0, 1, _CLONE3), (0x06, 0, 0, _ERRNO | _ENOSYS),  # its flags lie in memory; libc falls back to clone
    ]  # fmt: skip
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            code += [(0x15, 0, 1, number), (0x06, 0, 0, _ERRNO | _EPERM)]
    # clone only for threads; tgkill only to this process (abort is one); prlimit only for itself.
    code += [(0x15, 0, 4, _CLONE[column]), (0x20, 0, 0, 16), (0x45, 1, 0, _CLONE_THREAD)]
    code += [(0x06, 0, 0, _ERRNO | _EPERM), (0x06, 0, 0, _ALLOW)]
    for number, own in ((_TGKILL[column], os.getpid()), (_PRLIMIT[column], 0)):
        code += [(0x15, 0, 4, number), (0x20, 0, 0, 16), (0x15, 1, 0, own)]
        code += [(0x06, 0, 0, _ERRNO | _EPERM), (0x06, 0, 0, _ALLOW)]
    code += [(0x06, 0, 0, _ALLOW)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program = struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
