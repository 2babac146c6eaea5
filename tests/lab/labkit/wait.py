"""Waiting for something that gives no event: looked at often, for a limited time, with a reason on failure."""

import time

START = 90  # s for what a lab starts: its programs may come from a slow disk, beside other labs


def wait_until(check, seconds, what, every=0.01):
    """Calls `check` until it returns something true, and returns that. Raises TimeoutError naming `what`."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            result = check()
            if result:
                return result
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s" + (f" ({last})" if last else ""))
        time.sleep(every)
