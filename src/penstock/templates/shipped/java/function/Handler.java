/** Greets whoever the body names. One request at a time; what the constructor prepares is there for all of them. */
public final class Handler implements Afterburn.Handler {
    @Override
    public Afterburn.Response handle(Afterburn.Request request) throws Exception {
        String name = request.text().strip();
        return Afterburn.Response.of(200, "Hello, " + (name.isEmpty() ? "world" : name) + "!\n");
    }
}
