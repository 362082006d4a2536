"""A site's curve of total power over load, as `instances.rs` writes it: what judge and peer both read off it."""


def piecewise(c, x):
    """Total power at a load; beyond the ends the outermost pieces go on."""
    i = min(max(int((x - c["first"]) // c["step"]), 0), len(c["total"]) - 2)
    return c["total"][i] + (x - c["first"] - i * c["step"]) * (c["total"][i + 1] - c["total"][i]) / c["step"]
