"""Alerts: events that somebody should hear of at once. `delivery` hands them on, `log` is the handler by default."""

from __future__ import annotations

from fapilog_audit.alerts.delivery import AlertDelivery
from fapilog_audit.alerts.log import log_alert

__all__ = ["AlertDelivery", "log_alert"]
