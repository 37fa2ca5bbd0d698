"""What a process and all that it has started have used."""

import psutil


def family_cpu_seconds(process: psutil.Process) -> float:
    """In user and system mode, of those too that have ended: the system adds them to the one that waited for them."""
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used
