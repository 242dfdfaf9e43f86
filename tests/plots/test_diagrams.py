"""The pictures of the guide to the convolutions."""

from cnn_zoo.plots import diagrams


def test_pictures_are_drawn_in_their_order(tmp_path, monkeypatch):
  names = ("inverted_bottleneck", "summary")
  monkeypatch.setattr(diagrams, "PICTURES", {name: diagrams.PICTURES[name] for name in names})
  paths = list(diagrams.draw_convolutions(tmp_path / "new"))
  assert paths == [tmp_path / "new" / f"{name}.png" for name in names]
  assert all(path.stat().st_size > 10_000 for path in paths)
