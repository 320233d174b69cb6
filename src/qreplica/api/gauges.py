"""How metrics are named."""

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    """Return a gauge without values. No label is called ``job`` or ``instance``: Prometheus has its own of these."""
    return GaugeMetricFamily(f"qreplica_{name}", meaning, labels=labels)
