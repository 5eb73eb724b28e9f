import java.io.IOException;
import java.io.OutputStream;

/** A function on the Java library that behaves as each path asks for; see peer.py. */
public final class Peer {

    public static void main(String[] arguments) {
        Afterburn.serve(Peer::handle);
    }

    private static Afterburn.Response handle(Afterburn.Request request) throws Exception {
        switch (request.path()) {
            case "/echo":
                return Afterburn.Response.of(200, request.bytes());
            case "/stream":
                return Afterburn.Response.stream(200, out -> copy(request, out));
            case "/ignore":
                return Afterburn.Response.of(200, "ignored");
            case "/one":
                return Afterburn.Response.of(200, request.body().readNBytes(1));
            case "/describe":
                String field = request.header("x-TEST");
                String words = request.method() + " " + request.path() + " " + request.query() + " ";
                return Afterburn.Response.of(200, words + (field == null ? "" : field));
            case "/print":
                for (int line = 0; line < 2000; line++) {
                    System.out.println("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
                }
                return Afterburn.Response.of(200, "printed");
            case "/raise":
                throw new IllegalStateException("on purpose");
            case "/raise-late":
                return Afterburn.Response.stream(200, Peer::failLate);
            case "/swallow":
                return Afterburn.Response.of(200, swallowed(request));
            case "/header":
                return header(request.query());
            case "/cookies":
                return Afterburn.Response.of(200, "out").header("Set-Cookie", "a=1").header("Set-Cookie", "b=2");
            case "/framing":
                return Afterburn.Response.of(200, "out").header("Content-Length", "7").header("Transfer-Encoding", "gzip");
            case "/status":
                return Afterburn.Response.of(Integer.parseInt(request.query()), "body");
            case "/close":
                return Afterburn.Response.of(200, "bye").header("Connection", "close");
            default:
                return null;
        }
    }

    private static void copy(Afterburn.Request request, OutputStream out) throws IOException {
        byte[] piece = new byte[65536];
        for (int count; (count = request.body().read(piece)) > 0; ) {
            out.write(piece, 0, count);
            out.flush();
        }
    }

    /** With the stream closed on the way out, as try-with-resources does it. */
    private static void failLate(OutputStream out) throws IOException {
        try (OutputStream closing = out) {
            closing.write("begun".getBytes());
            throw new IllegalStateException("too late");
        }
    }

    private static String swallowed(Afterburn.Request request) {
        try {
            return request.text();
        } catch (IOException fault) {
            return "never mind";
        }
    }

    private static Afterburn.Response header(String kind) {
        Afterburn.Response response = Afterburn.Response.of(200, "out");
        switch (kind) {
            case "value":
                return response.header("X-Test", "a\r\nInjected: 1");
            case "name":
                return response.header("X-Test: a\r\nInjected", "1");
            default:
                return response.header("X-Test", "\u017c");
        }
    }
}
