"""Runs a Ray cluster on this machine, of a head without cores and two nodes with one core each.

Prints the cluster's address. Every line on standard input kills one of the two nodes, the raylet and its workers with
it, puts a new one in its place, and is answered with a line; the end of the input ends all.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 3}


def main() -> None:
    """Start, obey, end."""
    head: dict[str, Any] = {
        "num_cpus": 0,
        "include_dashboard": False,
        "_system_config": QUICK,
        "object_store_memory": 80 << 20,
    }
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    print(cluster.address, flush=True)
    for number, _ in enumerate(sys.stdin):
        cluster.remove_node(nodes[number % 2], allow_graceful=False)
        print("killed", flush=True)
        nodes[number % 2] = cluster.add_node(**NODE)
        print("replaced", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
