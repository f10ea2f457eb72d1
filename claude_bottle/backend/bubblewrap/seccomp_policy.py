"""What a program in a bottle may ask of the kernel: an allowlist in the spirit of docker's default profile.

Pure data, read by `scripts/seccomp_filter.py`, which turns it into the checked-in filters. A system call
is allowed, allowed on conditions, or refused: with EPERM if it is known and unwanted, with ENOSYS if it is
newer than this list (so that libraries fall back to an older call). Arguments are compared in their low 32
bits, as the kernel reads them: a comparison of all 64 lets TIOCSTI through with a high bit set
(CVE-2019-10063).
"""

from __future__ import annotations

from claude_bottle.values import dataclass

ALLOW, EPERM, ENOSYS = "allow", "EPERM", "ENOSYS"
FULL = 0xFFFFFFFF

# From this number on calls are numbered alike on all architectures, and unlisted ones count as "newer than
# the list".
FIRST_NEW, LAST_NEW = 424, 511


@dataclass(frozen=True)
class Test:
    """`any_of` false: (argument & mask) == value. True: (argument & mask) != 0."""

    argument: int
    mask: int
    value: int = 0
    any_of: bool = False


@dataclass(frozen=True)
class Conditional:
    """The first clause all of whose tests hold decides; if none does, `otherwise`."""

    clauses: tuple[tuple[tuple[Test, ...], str], ...]
    otherwise: str


def _is(argument: int, value: int, mask: int = FULL) -> Test:
    return Test(argument, mask, value)


def _has(argument: int, mask: int) -> Test:
    return Test(argument, mask, any_of=True)


def _deny(*clauses: tuple[Test, ...]) -> Conditional:
    return Conditional(tuple((clause, EPERM) for clause in clauses), ALLOW)


def _only(*clauses: tuple[Test, ...]) -> Conditional:
    return Conditional(tuple((clause, ALLOW) for clause in clauses), EPERM)


# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (NEWTIME cannot be asked of clone).
_NEW_NAMESPACES = 0x7E020000
_SET_ID = 0o6000
_CREATES = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE: only then does the kernel look at the mode
_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE, _STREAM, _DGRAM = 0xF, 1, 2
# Push input, paste from the console, and change the line discipline (each is a kernel module, loaded on demand).
_TIOCSTI, _TIOCLINUX, _TIOCSETD = 0x5412, 0x541C, 0x5423
_KIND = 0xFFFF  # of an ioctl: its type and number, whatever direction and size it claims (asm-generic/ioctl.h)


def _sockets(*netlink: int) -> Conditional:
    """Unix; TCP and UDP, no raw, no other protocol (each autoloads a kernel module); of netlink only
    ROUTE, and what is named."""
    internet = [
        (_is(0, family), _is(1, kind, _SOCK_TYPE), _is(2, protocol))
        for family in (_AF_INET, _AF_INET6)
        for kind, own in ((_STREAM, 6), (_DGRAM, 17))
        for protocol in (0, own)
    ]
    return _only((_is(0, _AF_UNIX),), *internet, *((_is(0, _AF_NETLINK), _is(2, one)) for one in (0, *netlink)))


def _mknod(mode: int, *, set_id: bool = False) -> Conditional:
    bits = () if set_id else ((_has(mode, _SET_ID),),)
    return _deny(*bits, (_is(mode, _S_IFCHR, _S_IFMT),), (_is(mode, _S_IFBLK, _S_IFMT),))


# The first process has the agent's user, so the kernel would let an agent starve it: at idle priority among busy programs it
# neither answers nor notices its keeper's end, and even SIGKILL, which it has to be run for, ends nothing.
_FIRST = 1
_NOT_THE_FIRST = _deny((_is(0, _FIRST),))
_OF_MANY = FULL & ~1  # PRIO_USER; not PRIO_PROCESS, PRIO_PGRP

# What protects the first process from an agent, not the kernel. Where an engine loads the filter, the first process adds
# these by itself (`init`): an engine's profile says "not 1" only by a rule for each bit, and those 96 took 8 ms of a start.
# Who has another first process in its image has nothing to protect by them.
OF_THE_FIRST: dict[str, Conditional] = {
    "sched_setattr": _NOT_THE_FIRST,
    "sched_setscheduler": _NOT_THE_FIRST,
    "setpriority": _deny((_is(1, _FIRST),), (_has(0, _OF_MANY),)),
}

# Set-id files matter because a bind's files belong to the operator on disk: one left behind would be a way
# to them.
CONDITIONAL: dict[str, Conditional] = {
    "clone": _deny((_has(0, _NEW_NAMESPACES),)),
    "socket": _sockets(),
    "socketpair": _only((_is(0, _AF_UNIX),)),
    "ioctl": _deny(*((_is(1, kind, _KIND),) for kind in (_TIOCSTI, _TIOCLINUX, _TIOCSETD))),
    "personality": _only(*((_is(0, value),) for value in (0x0, 0x8, 0x20000, 0x20008, FULL))),
    "chmod": _deny((_has(1, _SET_ID),)),
    "fchmod": _deny((_has(1, _SET_ID),)),
    "fchmodat": _deny((_has(2, _SET_ID),)),
    "fchmodat2": _deny((_has(2, _SET_ID),)),
    "creat": _deny((_has(1, _SET_ID),)),
    "open": _deny((_has(1, _CREATES), _has(2, _SET_ID))),
    "openat": _deny((_has(2, _CREATES), _has(3, _SET_ID))),
    "mknod": _mknod(1),
    "mknodat": _mknod(2),
    **OF_THE_FIRST,
}

# A build as many users is its own root over files that nobody but it has: it sets bits that no layer keeps, and its tools of
# users open a socket of the audit (9), which in a namespace answers that there is none. All else is as for any bottle.
FOR_BUILDS: dict[str, str | Conditional] = {
    "socket": _sockets(9),
    **dict.fromkeys(("chmod", "fchmod", "fchmodat", "fchmodat2", "creat", "open", "openat"), ALLOW),
    "mknod": _mknod(1, set_id=True),
    "mknodat": _mknod(2, set_id=True),
}

# Their arguments lie behind a pointer, where a filter cannot look; every caller falls back to clone and
# openat.
UNREADABLE = ("clone3", "openat2")

ALLOWED = tuple(
    """
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chown
    clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range dup
    dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate
    fanotify_mark fchdir fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat
    get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit
    getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr getxattrat inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup
    io_submit ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
    lchown lgetxattr link linkat listen listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mlock mlock2
    mlockall mmap modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
    mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat pause
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64
    preadv preadv2 prlimit64 process_madvise process_mrelease process_vm_readv process_vm_writev pselect6
    ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setparam
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg
    sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer
    setpgid setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statx
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill
    truncate umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
    """.split()  # noqa: SIM905
)

# Calls numbered 424 and up that exist and are refused for good, so that they say EPERM and not "not built
# in".
REFUSED = tuple(
    """
    fsconfig fsmount fsopen fspick io_uring_enter io_uring_register io_uring_setup mount_setattr move_mount
    open_tree pidfd_getfd quotactl_fd set_mempolicy_home_node """.split()  # noqa: SIM905
)

# Names newer than the libseccomp that resolves the others (numbers alike on both architectures).
NUMBERS = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "set_mempolicy_home_node": 450,
    "futex_waitv": 449,
    "quotactl_fd": 443,
}
