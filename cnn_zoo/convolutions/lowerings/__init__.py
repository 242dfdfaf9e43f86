"""Ways of computing a convolution, one in each file; `rules` maps a backend and a shape to one of them."""
