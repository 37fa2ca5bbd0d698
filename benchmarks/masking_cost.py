"""What masking one message costs, by method: `python -m benchmarks.masking_cost`."""

import json
import time
from datetime import date
from statistics import median

from login_pipeline.masking.keys import new_key
from login_pipeline.masking.methods import Masks, aes_siv_masks, hmac_sha256_masks, sha256_masks

MESSAGES = 50_000
ROUNDS = 7
VALUES = [(f"203.0.{n >> 8 & 255}.{n & 255}", f"{n % 1000:03}-{n % 100:02}-{n % 10_000:04}") for n in range(MESSAGES)]


def cpu_seconds(masks: Masks) -> float:
    """Of masking ip and device_id of every message."""
    started = time.process_time()
    for ip, device_id in VALUES:
        masks.ip(ip)
        masks.device_id(device_id)
    return time.process_time() - started


def main() -> None:
    """Prints the median over interleaved rounds, in microseconds of CPU a message."""
    key = new_key(date(2026, 1, 1))
    methods = {"sha256": sha256_masks(), "hmac-sha256": hmac_sha256_masks(key), "aes-siv": aes_siv_masks(key)}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, masks in methods.items():
            seconds[name].append(cpu_seconds(masks))
    print(json.dumps({name: round(median(each) / MESSAGES * 1e6, 2) for name, each in seconds.items()}))


if __name__ == "__main__":
    main()
