"""Finds the values behind masks by trying all that there can be, as anybody could who reads the table.

    python -m login_pipeline_tests.masking.reverse_masks [--messages FILE] [--first-octets 0-255] [--device-ids]

It needs no key, and no more than Python: under `sha256` every IPv4 address is found in minutes, and under a keyed
method none, because what there is to try is not 2**32 addresses but 2**256 keys.
"""

import argparse
import hmac
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address
from itertools import product
from pathlib import Path
from typing import NamedTuple

from login_pipeline.logins.event import LoginEvent, parse_login
from login_pipeline.masking.keys import MaskingKey, new_key
from login_pipeline.masking.methods import hmac_sha256_masks, sha256_masks

Space = Callable[[int], Iterator[bytes]]
OCTETS = [str(octet).encode() for octet in range(256)]
SAMPLES = 100


class Attack(NamedTuple):
    """All values of one kind: what they are, how a part of them is listed, and which parts there are."""

    name: str
    values: Space
    parts: list[int]


class Found(NamedTuple):
    """The digests that a part has, what was tried, and the CPU seconds that it took."""

    values: dict[bytes, bytes]
    tried: int
    seconds: float


def addresses(part: int) -> Iterator[bytes]:
    """The beginnings of all IPv4 addresses with these first two octets; the last octet is still to come."""
    for third in OCTETS:
        yield b"%d.%d.%b." % (part >> 8, part & 255, third)


def device_ids(part: int) -> Iterator[bytes]:
    """The beginnings of all device ids ddd-dd-dddd with these first three digits; the last two are still to come."""
    for middle, end in product(range(100), range(100)):
        yield b"%03d-%02d-%02d" % (part, middle, end)


def try_part(values: Space, part: int, digests: frozenset[bytes], key: bytes | None = None) -> Found:
    """Hashes every value of the part, under the key where one was guessed."""
    started = time.process_time()
    endings = OCTETS if values is addresses else [b"%02d" % ending for ending in range(100)]

    def digest(value: bytes) -> bytes:
        return sha256(value).digest() if key is None else hmac.digest(key, value, "sha256")

    found: dict[bytes, bytes] = {}
    tried = 0
    for beginning in values(part):
        tried += len(endings)
        if digests.isdisjoint([digest(beginning + ending) for ending in endings]):
            continue
        found |= {digest(beginning + ending): beginning + ending for ending in endings}
    return Found({each: found[each] for each in found.keys() & digests}, tried, time.process_time() - started)


def run(attack: Attack, digests: frozenset[bytes]) -> Found:
    """Tries every part, on every core."""
    values: dict[bytes, bytes] = {}
    tried, seconds = 0, 0.0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        try_one = partial(try_part, attack.values, digests=digests)
        for done, found in enumerate(pool.map(try_one, attack.parts, chunksize=16), 1):
            values.update(found.values)
            tried, seconds = tried + found.tried, seconds + found.seconds
            if sys.stderr.isatty():
                print(
                    f"\r{attack.name}: {done} of {len(attack.parts)} parts, {len(values)} found",
                    end="",
                    file=sys.stderr,
                )
    return Found(values, tried, seconds)


def logins(file: Path | None) -> list[tuple[str, str]]:
    """IPv4 address and device id of the logins in `file`; of random ones without it."""
    if file is None:
        source = random.Random("the same each time")  # noqa: S311 - samples, not secrets
        return [
            (str(IPv4Address(source.getrandbits(32))), f"{n:03}-{n % 90:02}-{source.randrange(10**4):04}")
            for n in range(SAMPLES)
        ]
    parsed = [parse_login(line) for line in file.read_text().splitlines()]
    return [(each.ip, each.device_id) for each in parsed if isinstance(each, LoginEvent) and ":" not in each.ip]


def attack(attacked: Attack, clear: list[str], field: str, key: MaskingKey) -> dict[str, int | float]:
    """Attacks the masks of the values: each digest that stands in a mask is looked for.

    Those of aes-siv have no digest of the value in them, so there is nothing to compare with.
    """
    methods = {"sha256": sha256_masks(), "hmac-sha256": hmac_sha256_masks(key)}
    digests = {
        name: {bytes.fromhex(getattr(masks, field)(value).split(".")[-1]) for value in clear}
        for name, masks in methods.items()
    }
    started = time.monotonic()
    found = run(attacked, frozenset().union(*digests.values()))
    return {
        "values": len(set(clear)),
        "tried": found.tried,
        **{f"found behind {name}": len(found.values.keys() & digests[name]) for name in methods},
        "seconds": round(time.monotonic() - started, 1),
        "CPU seconds": round(found.seconds, 1),
        "ns a try": round(found.seconds / max(found.tried, 1) * 1e9),
    }


def main() -> None:
    """Prints what was found as one JSON object a line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--messages", type=Path, help="a file of login messages, one a line; random ones without")
    arguments.add_argument("--first-octets", default="0-255", help="only a part of all addresses, such as 192-203")
    arguments.add_argument("--device-ids", action="store_true", help="also the 10**9 device ids ddd-dd-dddd")
    given = arguments.parse_args()
    first, _, last = given.first_octets.partition("-")
    pairs, key = logins(given.messages), new_key(datetime.now(UTC).date())
    every_address = Attack("IPv4 addresses", addresses, list(range(int(first) << 8, (int(last or first) + 1) << 8)))
    print(json.dumps({every_address.name: attack(every_address, [ip for ip, _ in pairs], "ip", key)}))
    if given.device_ids:
        every_id = Attack("device ids", device_ids, list(range(1000)))
        print(json.dumps({every_id.name: attack(every_id, [each for _, each in pairs], "device_id", key)}))


if __name__ == "__main__":
    main()
