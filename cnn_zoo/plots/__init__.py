"""Every picture that the project draws, in one style.

Public, by module: `curves.draw_curves` and `curves.compare_curves`; `predictions.draw_prediction` and
`predictions.picture_paths`; `diagrams.draw_convolutions`; `enlargements.draw_enlargements`; `style.picture_style`.
"""
