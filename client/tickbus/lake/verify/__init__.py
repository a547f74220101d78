"""`tickbus verify`: whether a dataset is whole, unchanged and consistent, from its files alone."""
