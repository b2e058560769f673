"""Programs that attack the judge or the machine. Each is asked for ``add``; none may get through ``TESTS``.

``HIDDEN`` is a file outside, ``PORT`` a listening port, ``SOCKET`` an abstract address, ``PARENT`` the test's process.
Programs that attack answer rightly only where the attack worked, so that a pass is a door left open.
"""

__all__ = ["CHEATS", "FORGERIES", "GREEDY", "INTRUDERS", "TESTS"]

TESTS = """
def check(candidate):
    assert candidate(1, 2) == 3
    assert candidate(-1, 1) == 0
    assert abs(candidate(10, 20) - 30) < 1e-6
    assert candidate(10**20, 1) in [10**20 + 1]
"""


def _function(body: str, before: str = "") -> str:
    lines = "".join(f"    {line}\n" for line in body.strip("\n").split("\n"))
    return f"{before}\ndef add(a, b):\n{lines}"


def _equal(name: str) -> str:
    methods = "".join(
        f"    def __{method}__(self, *other): return {result}\n"
        for method, result in {
            "eq": True, "ne": False, "lt": True, "le": True, "gt": True, "ge": True, "contains": True, "bool": True,
            "sub": "self", "rsub": "self", "abs": "self", "add": "self", "radd": "self", "hash": 0,
        }.items()
    )  # fmt: skip
    return f"class Equal{name}:\n{methods}"


CHEATS = {
    "nothing": _function("return None"),
    "wrong": _function("return a - b"),
    "equal_to_everything": _function("return Equal()", _equal("")),
    "equal_integer": _function("return Equal(0)", _equal("(int)")),
    "equal_float": _function("return Equal(0)", _equal("(float)")),
    "equal_list": _function("return Equal()", _equal("(list)")),
    "equal_named_tuple": _function(
        "return Pair(0)",
        "from collections import namedtuple\n"
        "class Pair(namedtuple('Pair', 'a')):\n"
        "    def __eq__(self, other): return True\n    def __abs__(self): return 0\n",
    ),
    "not_a_number": _function("return float('nan')"),
    "infinite": _function("return float('inf')"),
    "exit_while_loading": _function("return 0", "import sys\nsys.exit(0)"),
    "exit_in_call": _function("raise SystemExit(0)"),
    "end_in_call": _function("os._exit(0)", "import os"),
    "interrupt": _function("raise KeyboardInterrupt"),
    "assertion_raised": _function("raise AssertionError"),
    "own_check": _function("return 0", "def check(candidate): return None\n"),
    "own_builtins": _function(
        "return 0", "def abs(x): return 0\ndef all(x): return True\ndef isinstance(*x): return True\n"
    ),
    "own_builtins_table": _function("return 0", "__builtins__ = {'abs': lambda x: 0}\n"),
    "assertion_patched": _function(
        "return 0",
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\nbuiltins.abs = lambda x: 0",
    ),
    "memory_searched_for_tests": _function(
        "return 3 if any(isinstance(o, str) and 'candidate(1' in o for o in gc.get_objects()) else 0", "import gc"
    ),
    "frames_walked": _function(
        """
frame = sys._getframe()
while frame:
    for name, value in list(frame.f_locals.items()):
        if isinstance(value, list):
            value.append('passed')
        if name in ('passed', 'status', 'verdict', 'result'):
            return a + b
    frame = frame.f_back
return 0""",
        "import sys",
    ),
}
"""Wrong answers that want to be taken for right ones."""

_FORGE = (
    "import os, json\n"
    "def forge(message, descriptors=range(3, 30)):\n"
    "    data = json.dumps(message).encode()\n"
    "    for descriptor in descriptors:\n"
    "        try: os.write(descriptor, len(data).to_bytes(4, 'big') + data)\n"
    "        except OSError: pass\n"
)
FORGERIES = {
    "reply_forged": _function("forge({'$': 'dict', 'v': [['ok', True]]})\nreturn 0", _FORGE),
    "replies_in_advance": _function(
        "return 0", _FORGE + "for _ in range(50): forge({'$': 'dict', 'v': [['ok', 3], ['arguments', []]]})\n"
    ),
    "verdict_forged": _function('print(\'{"status": "passed", "detail": ""}\', flush=True)\nos._exit(0)', "import os"),
    "verdict_on_every_descriptor": _function(
        'for n in range(64):\n    try: os.write(n, b\'{"status": "passed", "detail": ""}\')\n'
        "    except OSError: pass\nos._exit(0)",
        "import os",
    ),
    "garbage": _function("forge('x' * 10)\nos._exit(1)", _FORGE),
    "tag_of_no_kind": _function("forge({'$': 'object', 'v': 'x'})\nreturn 0", _FORGE),
    "builtins_in_reply": _function(
        "return 0",
        _FORGE + "forge({'$': 'dict', 'v': [['ok', {'$': 'dict', 'v': [['__builtins__', {'$': 'dict', 'v': []}],"
        " ['abs', {'$': 'object', 'v': [0, 'function', 'abs']}]]}]]})\n",
    ),
    "codec_patched": _function(
        "return 0",
        "import sys\nfor module in list(sys.modules.values()):\n"
        "    if hasattr(module, 'encode') and hasattr(module, 'LARGEST'): module.encode = lambda *a: b'true'\n",
    ),
    "json_patched": _function("return 0", "import json\njson.dumps = lambda *a, **k: 'true'\n"),
    "length_of_gigabytes": _function(
        "os.write(WRITE, b'\\xff\\xff\\xff\\xff')\nreturn 0", "import os, sys\nWRITE = int(sys.argv[2])"
    ),
    "stops_reading": _function("os.close(int(sys.argv[1]))\nwhile True: time.sleep(1)", "import os, sys, time"),
    "closes_everything": _function("os.closerange(0, 100)\nreturn a + b", "import os"),
}
"""Attacks on what judge and guest say to each other."""

GREEDY = {
    "endless": _function("while True: pass"),
    "endless_while_loading": "while True: pass",
    "sleeps": _function("time.sleep(60)", "import time"),
    "ignores_signals": _function(
        "while True: pass",
        "import signal\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)",
    ),
    "memory": _function("x = []\nwhile True: x.append(bytearray(10**7))"),
    "memory_again_and_again": _function(
        "x = []\nwhile True:\n    try: x.append('y' * 10**7)\n    except MemoryError: pass"
    ),
    "threads": _function(
        "n = 0\ntry:\n    while n < 3000:\n"
        "        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n"
        "        n += 1\nexcept RuntimeError: pass\nreturn a + b if n > 1000 else 0.5",
        "import threading, time",
    ),
    "forks": _function(
        "n = 0\nfor _ in range(100):\n    try:\n        if os.fork() == 0: time.sleep(2); os._exit(0)\n        n += 1\n"
        "    except OSError: pass\nreturn a + b if n else 0.5",
        "import os, time",
    ),
    "fork_bomb": _function("while True:\n    try: os.fork()\n    except OSError: pass", "import os"),
    "daemon": _function("if os.fork() == 0:\n    os.setsid()\n    time.sleep(8)\nreturn a + b", "import os, time"),
    "starts_programs": _function("subprocess.run(['/bin/sh', '-c', 'true'])\nreturn a + b", "import subprocess"),
    "replaces_itself": _function("os.execv('/bin/true', ['true'])", "import os"),
    "disk": _function(
        "written = 0\nwhile written < 200 * 2**20:\n    with open('f%d' % written, 'wb') as f:\n"
        "        for _ in range(5): written += f.write(b'x' * 2**20)\nreturn a + b"
    ),
    "one_large_file": _function("open('f', 'wb').write(b'x' * 2**26)\nreturn a + b"),
    "inodes": _function("for n in range(200000): open('i%d' % n, 'w').close()\nreturn a + b"),
    "prints_forever": _function("while True: print('x' * 10**6)"),
    "large_reply": _function("return 'x' * 2**26"),
    "deep_reply": _function("x = []\nfor _ in range(100000): x = [x]\nreturn x"),
    "reply_in_a_circle": _function("x = []\nx.append(x)\nreturn x"),
    "integer_of_millions": _function("return 10**3000000"),
    "recursion": _function("return add(a, b)"),
    "recursion_without_limit": _function("return add(a, b)", "import sys\nsys.setrecursionlimit(10**9)"),
    "segmentation_fault": _function("ctypes.string_at(0)", "import ctypes"),
    "aborts": _function("os.abort()", "import os"),
    "deep_syntax": "x = " + "(" * 5000 + ")" * 5000,
    "limits_raised": _function(
        "resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))\nreturn a + b", "import resource"
    ),
}
"""Attacks on the machine's time, memory and disk."""

INTRUDERS = {
    "reads_a_file": _function("return a + b if open('HIDDEN').read() else 0"),
    "reads_through_a_link": _function(
        "os.symlink('HIDDEN', 'link')\nreturn a + b if open('link').read() else 0", "import os"
    ),
    "lists_a_folder": _function("return a + b if os.listdir(os.path.dirname('HIDDEN')) else 0", "import os"),
    "reads_passwords": _function("return a + b if open('/etc/shadow').read() else 0"),
    "reads_this_project": _function("return a + b if os.listdir('PROJECT') else 0", "import os"),
    "environment": _function("return a + b if os.environ.get('HF_TOKEN') else 0", "import os"),
    "environment_of_others": _function(
        "text = b''\nfor path in glob.glob('/proc/[0-9]*/environ'):\n    try: text += open(path, 'rb').read()\n"
        "    except OSError: pass\nreturn a + b if b'HF_TOKEN' in text else 0",
        "import glob",
    ),
    "memory_of_others": _function(
        "for path in glob.glob('/proc/[0-9]*/mem'):\n    if path.split('/')[2] != str(os.getpid()):\n"
        "        open(path, 'rb+')\n"
        "        return a + b\nreturn 0",
        "import glob, os",
    ),
    "port": _function("socket.create_connection(('127.0.0.1', PORT), 1)\nreturn a + b", "import socket"),
    "datagram": _function(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))\nreturn a + b",
        "import socket",
    ),
    "raw_socket": _function("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nreturn a + b", "import socket"),
    "abstract_socket": _function("socket.socket(socket.AF_UNIX).connect('\\0SOCKET')\nreturn a + b", "import socket"),
    "kills_its_parent": _function("os.kill(os.getppid(), 9)\nreturn a + b", "import os"),
    "kills_the_test": _function("os.kill(PARENT, 9)\nreturn a + b", "import os"),
    "kills_all": _function("os.kill(-1, 9)\nreturn a + b", "import os"),
    "signals_by_thread": _function(
        "n = ctypes.CDLL(None).syscall(234, PARENT, PARENT, 0)\nreturn a + b if n == 0 else 0.5", "import ctypes"
    ),
    "traces": _function(
        "n = ctypes.CDLL(None).ptrace(16, PARENT, 0, 0)\nreturn a + b if n == 0 else 0.5", "import ctypes"
    ),
    "namespaces": _function(
        "n = ctypes.CDLL(None).unshare(0x10000000)\nreturn a + b if n == 0 else 0.5", "import ctypes"
    ),
    "old_system_calls": _function(
        "n = ctypes.CDLL(None).syscall(0x40000000 + 39)\nreturn a + b if n > 0 else 0.5", "import ctypes"
    ),
    "io_uring": _function("n = ctypes.CDLL(None).syscall(425, 8, 0)\nreturn a + b if n >= 0 else 0.5", "import ctypes"),
    "terminal": _function("os.open('/dev/tty', os.O_RDWR)\nreturn a + b", "import os"),
    "writes_outside": _function(
        "for path in ('/usr/intruder', '/var/tmp/intruder', '/dev/shm/intruder', 'HIDDEN', 'PROJECT/intruder'):\n"
        "    try: open(path, 'w').write('x'); return a + b\n    except OSError: pass\nreturn 0"
    ),
    "deletes_outside": _function("os.remove('HIDDEN')\nreturn a + b", "import os"),
    "changes_modes": _function("os.chmod('HIDDEN', 0o777)\nreturn a + b", "import os"),
    "other_priorities": _function("os.setpriority(os.PRIO_PROCESS, PARENT, 19)\nreturn a + b", "import os"),
    "other_user": _function("os.setuid(65534) or os.setuid(0)\nreturn a + b", "import os"),
}
"""Attacks on files, keys, the network and other processes."""
