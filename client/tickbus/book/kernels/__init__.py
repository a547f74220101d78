"""The order book's levels: pages of price steps, and every operation on them."""
