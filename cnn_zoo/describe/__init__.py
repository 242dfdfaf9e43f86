"""What a model is: its layers, costs, receptive fields and the tables of its paper. Knows nothing of training.

Public, by module: `summary.describe` and `summary.LayerTable`; `paper_tables.paper_table`; `tracing.trace`;
`least_input.least_input`; `footprints.reach` and `footprints.reach_centre`; `tables.text_table`.
"""
