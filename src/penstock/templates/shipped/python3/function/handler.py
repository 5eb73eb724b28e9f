def handle(req):
    """Greet whoever the body names."""
    return f"Hello, {req.strip() or 'world'}!"
