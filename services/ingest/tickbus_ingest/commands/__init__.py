"""Commands about venues: what is built, and what a venue lists."""
