"""The notifier: alerts of the bus to people.

Rooms: `wording` <- `receivers` <- `letters` (decides) <- `post`, `delivery`, `heartbeats` (act).
"""
