"""What a model is: its layers, costs, receptive fields and the tables of its paper. Knows nothing of training."""
