def handle(event, context):
    """Greet whoever the body or the query `name` names."""
    name = event.body.decode().strip() or event.query.get("name", "world")
    return {"statusCode": 200, "body": f"Hello, {name}!\n", "headers": {"Content-Type": "text/plain; charset=utf-8"}}
