"""kazoo: so many requests on their way through one session, each followed by the next.

    pipeline.py host:port get|set REQUESTS SECONDS

Prints operations per second. Threads would only get into each other's way: callbacks ask again, as kazoo
is fastest.
"""
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

PATH = "/bench-clients"
DATA = b"x" * 100
WARM_UP = 1


def run(client, operation, requests, seconds):
    until = time.monotonic() + seconds
    counts = [0] * requests
    done = threading.Semaphore(0)

    def ask(place):
        if operation == "get":
            result = client.get_async(PATH)
        else:
            result = client.set_async(PATH, DATA)
        result.rawlink(lambda answer: answered(place, answer))

    def answered(place, answer):
        answer.get()
        counts[place] += 1
        if time.monotonic() < until:
            ask(place)
        else:
            done.release()

    for place in range(requests):
        ask(place)
    for _ in range(requests):
        done.acquire()
    return sum(counts)


def main():
    address, operation, requests, seconds = sys.argv[1:]
    client = KazooClient(hosts=address)
    client.start()
    try:
        client.create(PATH, DATA)
    except NodeExistsError:
        pass
    run(client, operation, int(requests), WARM_UP)
    start = time.monotonic()
    count = run(client, operation, int(requests), float(seconds))
    print(round(count / (time.monotonic() - start)))
    client.stop()


main()
