"""Severe conditions: `conditions` <- `alarms` (decides) <- `lag`, `disk`, `watched` <- `teller`."""
