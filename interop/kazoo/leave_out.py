"""A pytest plugin that leaves out the cases of exceptions.txt: some of them would wait for minutes
for what the server does not have. KAZOO_ALL=1 runs them all the same."""

import os

import judge


def pytest_collection_modifyitems(config, items):
    if os.environ.get("TARGET") == "apache" or os.environ.get("KAZOO_ALL"):
        return
    excepted = judge.exceptions()
    kept, dropped = [], []
    for item in items:
        name = judge.case_name(item.module.__name__ + "." + item.cls.__name__ if item.cls else item.module.__name__, item.name)
        (dropped if name in excepted else kept).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept
