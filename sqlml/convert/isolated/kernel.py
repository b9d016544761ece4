"""What the Linux kernel offers to confine a process, as direct system calls: namespaces, Landlock, seccomp.

Everything here applies to the calling process and cannot be taken back. Each function returns what is in force,
or raises OSError with the kernel's reason. Nothing but the standard library, for it runs before anything else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct
from collections.abc import Iterable, Sequence

CLONE_THREAD, CLONE_NEWUSER, CLONE_NEWNET = 0x00010000, 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446

# Landlock rights in the order of their bits, and the ABI that brought each.
_RIGHTS = {
    "execute": 1,
    "write_file": 1,
    "read_file": 1,
    "read_dir": 1,
    "remove_dir": 1,
    "remove_file": 1,
    "make_char": 1,
    "make_dir": 1,
    "make_reg": 1,
    "make_sock": 1,
    "make_fifo": 1,
    "make_block": 1,
    "make_sym": 1,
    "refer": 2,
    "truncate": 3,
    "ioctl_dev": 5,
}
_BIT = {name: 1 << position for position, name in enumerate(_RIGHTS)}
_FILE_RIGHTS = _BIT["execute"] | _BIT["write_file"] | _BIT["read_file"] | _BIT["truncate"] | _BIT["ioctl_dev"]
_READ = _BIT["read_file"] | _BIT["read_dir"]
_WORK = _READ | sum(
    _BIT[name] for name in ("write_file", "remove_dir", "remove_file", "make_dir", "make_reg", "truncate")
)
_TCP = 0b11  # bind and connect, ABI 4
_SCOPES = 0b11  # abstract Unix sockets and signals, ABI 6

# System calls that the worker never needs and model code could do harm with: (x86_64, aarch64), None where absent.
# Landlock does not cover a file's mode, owner, times and attributes, nor sockets with a path.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),  # a pair of datagram sockets can be connected to a path afterwards
    "io_uring_setup": (425, 425),
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "mount": (165, 40),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
_KILL, _TGKILL, _PRLIMIT, _CLONE, _CLONE3 = (62, 129), (234, 131), (302, 261), (56, 220), (435, 435)
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    _checked(_libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def die_with_parent() -> str:
    """Linux kills this process when the thread that started it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return "the worker is killed with it"


def enter_network_namespace() -> str:
    """A network of our own without any interface; as an ordinary user that takes a user namespace too."""
    user, group = os.getuid(), os.getgid()
    libc = _libc()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        # Best effort: without a map the process is "nobody" to itself, and its files still belong to it.
        for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            try:
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(line)
            except OSError:
                break
        return "user and network namespace"
    _checked(libc.unshare(CLONE_NEWNET), "unshare")
    return "network namespace"


def drop_capabilities() -> str:
    """Root without its powers; in a user namespace of our own, an ordinary process again."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break
    header = struct.pack("Ii", 0x20080522, 0)
    _checked(_libc().capset(header, bytes(24)), "capset")
    return "dropped"


def landlock_abi() -> int:
    """The Landlock version of this kernel; OSError where there is none."""
    return _checked(_libc().syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1), "landlock")


def restrict_files(readable: Iterable[str], devices: Iterable[str], work: str) -> int:
    """From here on: read below `readable`, write below `work` and to `devices`, nothing else; returns the ABI."""
    abi = landlock_abi()
    known = sum(_BIT[name] for name, since in _RIGHTS.items() if since <= abi)
    attributes = struct.pack("QQQ", known, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    libc = _libc()
    ruleset = _checked(libc.syscall(LANDLOCK_CREATE, attributes[:size], ctypes.c_size_t(size), 0), "landlock")
    try:
        for path in readable:
            _allow(libc, ruleset, path, _READ & known)
        for path in devices:
            _allow(libc, ruleset, path, (_BIT["read_file"] | _BIT["write_file"]) & known)
        _allow(libc, ruleset, work, _WORK & known)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        _checked(libc.syscall(LANDLOCK_RESTRICT, ruleset, 0), "landlock")
    finally:
        os.close(ruleset)
    return abi


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no permission
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        _checked(libc.syscall(LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, handle), 0), "landlock")
    finally:
        os.close(handle)


def refuse_system_calls() -> int:
    """No new process, socket, signal to others, change of a file's mode ...; returns how many calls are refused."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    column, audit = _ARCHITECTURES[machine]
    program = _filter([n for pair in _REFUSED.values() if (n := pair[column]) is not None], column, audit, os.getpid())
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    code = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog: unsigned short, padding, pointer
    prctl_argument = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    _checked(_libc().prctl(PR_SET_SECCOMP, 2, prctl_argument, 0, 0), "seccomp")
    return len(_REFUSED)


def _filter(numbers: Sequence[int], column: int, audit: int, pid: int) -> list[bytes]:
    """A classic BPF program over struct seccomp_data: number at 0, architecture at 4, arguments from 16."""
    allow, deny, missing, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    def load(offset: int) -> bytes:
        return step(0x20, offset)

    def jump_equal(value: int, if_true: int, if_false: int) -> bytes:
        return step(0x15, value, if_true, if_false)

    def answer(value: int) -> bytes:
        return step(0x06, value)

    program = [load(4), jump_equal(audit, 1, 0), answer(kill), load(0)]
    program += [step(0x35, 0x40000000, 0, 1), answer(deny)]  # the x32 twins of the same calls
    for number in numbers:
        program += [jump_equal(number, 0, 1), answer(deny)]
    program += [
        jump_equal(_CLONE3[column], 0, 1),
        answer(missing),
    ]  # glibc then falls back to clone, which shows its flags
    program += [jump_equal(_CLONE[column], 0, 4), load(16), step(0x45, CLONE_THREAD, 0, 1), answer(allow), answer(deny)]
    for call in (_KILL, _TGKILL):
        program += [jump_equal(call[column], 0, 4), load(16), jump_equal(pid, 0, 1), answer(allow), answer(deny)]
    program += [jump_equal(_PRLIMIT[column], 0, 5), load(16), jump_equal(0, 1, 0), jump_equal(pid, 0, 1)]
    program += [answer(allow), answer(deny)]
    return [*program, answer(allow)]
