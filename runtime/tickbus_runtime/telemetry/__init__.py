"""What a process tells of itself: metrics, spans, logs; and traces put together again."""
