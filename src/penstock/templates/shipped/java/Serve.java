/** Starts the function: makes one Handler, whose constructor may prepare what all requests need, and answers with it. */
final class Serve {
    private Serve() {}

    public static void main(String[] arguments) {
        Afterburn.serve(new Handler());
    }
}
