"""What each receiver of alerts is sent, and what its answers mean. No I/O."""
