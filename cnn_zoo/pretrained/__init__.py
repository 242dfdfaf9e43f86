"""Published weights: `loading` is what all families share, and one file a family says which tensor is which."""
