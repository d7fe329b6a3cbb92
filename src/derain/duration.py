"""Times in words, for people who wait."""


def duration(seconds: float) -> str:
    """`2 h 05 min`, `7 min 30 s` or `12 s`."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
