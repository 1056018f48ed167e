"""Prints the first of N consecutive free TCP ports on loopback, below the kernel's range for clients.

    python3 free_port.py [N]
"""

import random
import socket
import sys


def is_free(port):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in (97, 99):  # no IPv6 here
                continue
            return False
    return True


count = int(sys.argv[1]) if len(sys.argv) > 1 else 1
for _ in range(1000):
    first = random.randrange(12000, 32000 - count)
    if all(is_free(first + step) for step in range(count)):
        print(first)
        sys.exit(0)
sys.exit("no free port found")
