import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Answers HTTP/1.1 requests on stdin and stdout: the function's side of Penstock's watchdog mode {@code afterburn}.
 *
 * <p>One file to copy, without dependencies, for Java 11 or later. {@link #serve} answers one request after another until
 * stdin ends; what is printed goes to stderr, because a byte on stdout that is no response costs the process its life. The
 * virtual machine prints warnings there as well unless it runs with {@code -XX:+DisplayVMOutputToStderr}. The protocol is
 * described in docs/reference/afterburn-protocol.md.
 *
 * <pre>{@code
 * Afterburn.serve(request -> Afterburn.Response.of(200, "hello " + request.text()));
 * }</pre>
 */
public final class Afterburn {

    /** Bytes of a request's head, and of the trailers behind a chunked body; more is answered with 431. */
    static final int MAX_HEAD = 64 * 1024;

    /** Bytes of a chunk's size and extensions, more than the watchdog lets through: what it accepts must not cost a process. */
    static final int MAX_CHUNK_LINE = 8192;

    private static final int PIECE = 64 * 1024;
    private static final String TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
    private static final Pattern REQUEST_LINE = Pattern.compile("(" + TOKEN + ") ([\\x21-\\x7e]+) HTTP/1\\.1");
    private static final Pattern FIELD_NAME = Pattern.compile(TOKEN);
    private static final Pattern FIELD_VALUE = Pattern.compile("[\\t\\x20-\\x7e\\x80-\\xff]*");
    private static final Pattern LENGTH = Pattern.compile("[0-9]{1,19}");
    private static final Pattern CHUNK_LINE =
            Pattern.compile("([0-9A-Fa-f]{1,16})[ \\t]*(?:;[\\t\\x20-\\x7e\\x80-\\xff]*)?");

    private final Handler handler;
    private final FileInputStream stdin = new FileInputStream(FileDescriptor.in);
    private final Input input = new Input(stdin);
    private final OutputStream answers = new FileOutputStream(FileDescriptor.out);
    private final Object state = new Object();
    private boolean idle = true;
    private volatile boolean stopping;
    private boolean begun;

    /** Answers one request. An exception is answered with 500, its stack trace written to stderr. */
    @FunctionalInterface
    public interface Handler {
        Response handle(Request request) throws Exception;
    }

    /** Writes the content of a response that is sent chunk by chunk; {@code flush} sends what was written at once. */
    @FunctionalInterface
    public interface Content {
        void writeTo(OutputStream out) throws Exception;
    }

    /** A request that is not one. After it nothing on stdin can be trusted, so the process ends. */
    public static final class BadRequest extends IOException {
        private static final long serialVersionUID = 1;
        final int status;

        BadRequest(int status, String reason) {
            super(reason);
            this.status = status;
        }
    }

    /** One request; names of header fields in any case. */
    public static final class Request {
        private final String method;
        private final String target;
        private final Map<String, List<String>> headers;
        private final Body body;

        private Request(String method, String target, Map<String, List<String>> headers, Body body) {
            this.method = method;
            this.target = target;
            this.headers = headers;
            this.body = body;
        }

        public String method() {
            return method;
        }

        /** Path and query as they were sent. */
        public String target() {
            return target;
        }

        public String path() {
            return target.contains("?") ? target.substring(0, target.indexOf('?')) : target;
        }

        /** What follows the question mark; empty when there is none. */
        public String query() {
            return target.contains("?") ? target.substring(target.indexOf('?') + 1) : "";
        }

        /** All fields: a map that finds names in any case. */
        public Map<String, List<String>> headers() {
            return headers;
        }

        /** The value of a field, several of one name joined by a comma (RFC 9110 section 5.3); null when there is none. */
        public String header(String name) {
            List<String> values = headers.get(name);
            return values == null ? null : String.join(", ", values);
        }

        /** The body, read from stdin when it is asked for. What the handler leaves unread is read for it. */
        public InputStream body() {
            return body;
        }

        /** The whole body. */
        public byte[] bytes() throws IOException {
            return body.readAllBytes();
        }

        /** The whole body as UTF-8. */
        public String text() throws IOException {
            return new String(bytes(), StandardCharsets.UTF_8);
        }
    }

    /** What a handler answers. Its framing (Content-Length or chunks) is decided here, not by header fields. */
    public static final class Response {
        private final int status;
        private final byte[] whole;
        private final Content content;
        private final List<String[]> fields = new ArrayList<>();

        private Response(int status, byte[] whole, Content content) {
            if (status < 200 || status > 599) {
                throw new IllegalArgumentException("not a final status: " + status);
            }
            this.status = status;
            this.whole = whole;
            this.content = content;
        }

        public static Response of(int status, byte[] body) {
            return new Response(status, body, null);
        }

        public static Response of(int status, String body) {
            return of(status, body.getBytes(StandardCharsets.UTF_8)).header("Content-Type", "text/plain; charset=utf-8");
        }

        /** A response that is sent as it is written. Its head waits for the first flush or 64 KiB. */
        public static Response stream(int status, Content content) {
            return new Response(status, null, content);
        }

        /** Sets a field. Set-Cookie alone is added to those of its name. {@code Connection: close} ends the process. */
        public Response header(String name, String value) {
            if (!FIELD_NAME.matcher(name).matches() || !FIELD_VALUE.matcher(value).matches()) {
                throw new IllegalArgumentException("not a header field: " + quoted(name + ": " + value));
            }
            if (!name.equalsIgnoreCase("Set-Cookie")) {
                fields.removeIf(field -> field[0].equalsIgnoreCase(name));
            }
            fields.add(new String[] {name, value});
            return this;
        }
    }

    private Afterburn(Handler handler) {
        this.handler = handler;
    }

    /** Answers requests until stdin ends or SIGTERM arrives between two of them; then exits. Never returns. */
    public static void serve(Handler handler) {
        System.setOut(System.err);
        System.setIn(InputStream.nullInputStream());
        System.exit(new Afterburn(handler).run());
    }

    private int run() {
        // The one interface by which Java hears of SIGTERM before its shutdown hooks run; kept for that by JEP 260.
        sun.misc.Signal.handle(new sun.misc.Signal("TERM"), signal -> stop());
        try {
            while (exchange()) {
                synchronized (state) {
                    idle = true;
                }
            }
            return 0;
        } catch (IOException fault) {
            System.err.println("afterburn: " + fault.getMessage());
            return 1;
        }
    }

    /** SIGTERM: the end when no request is there, otherwise after it. */
    private void stop() {
        synchronized (state) {
            stopping = true;
            if (!idle || requestIsThere()) {
                return;
            }
        }
        System.exit(0);
    }

    private boolean requestIsThere() {
        try {
            return stdin.available() > 0;
        } catch (IOException closed) {
            return false;
        }
    }

    /** Answers one request; whether another may follow. Throws where nothing that follows could be understood. */
    private boolean exchange() throws IOException {
        begun = false;
        if ((stopping && !requestIsThere()) || !input.await()) {
            return false;
        }
        synchronized (state) {
            idle = false;
        }
        try {
            return answer(read());
        } catch (BadRequest fault) {
            if (!begun) {
                send(head(fault.status, List.of("Connection: close", "Content-Length: 0")));
            }
            throw fault;
        }
    }

    private Request read() throws IOException {
        Lines lines = new Lines(input);
        Matcher found = REQUEST_LINE.matcher(lines.next());
        if (!found.matches()) {
            throw new BadRequest(400, "the request line is not METHOD TARGET HTTP/1.1");
        }
        Map<String, List<String>> headers = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
        for (String line = lines.next(); !line.isEmpty(); line = lines.next()) {
            String[] field = field(line);
            headers.computeIfAbsent(field[0], name -> new ArrayList<>()).add(field[1]);
        }
        if (!headers.containsKey("Host")) {
            throw new BadRequest(400, "a request without a Host field");
        }
        return new Request(found.group(1), found.group(2), Collections.unmodifiableMap(headers), body(headers));
    }

    /** How the body is framed: RFC 9112 section 6.3. */
    private Body body(Map<String, List<String>> headers) throws BadRequest {
        List<String> lengths = headers.getOrDefault("Content-Length", List.of());
        List<String> codings = headers.getOrDefault("Transfer-Encoding", List.of());
        if (!codings.isEmpty() && !lengths.isEmpty()) {
            throw new BadRequest(400, "both Content-Length and Transfer-Encoding");
        }
        if (!codings.isEmpty()) {
            if (codings.size() > 1 || !codings.get(0).equalsIgnoreCase("chunked")) {
                throw new BadRequest(501, "a transfer coding other than chunked: " + quoted(codings.toString()));
            }
            return new Body(input, 0, true);
        }
        if (lengths.stream().distinct().count() > 1 || !lengths.stream().allMatch(length -> LENGTH.matcher(length).matches())) {
            throw new BadRequest(400, "not a length: " + quoted(lengths.toString()));
        }
        long length = lengths.isEmpty() ? 0 : Long.parseUnsignedLong(lengths.get(0));
        if (length < 0) {
            throw new BadRequest(400, "not a length: " + length);
        }
        return new Body(input, length, false);
    }

    private boolean answer(Request request) throws IOException {
        if (request.method.equals("OPTIONS") && request.target.equals("*")) {
            return respond(request, Response.of(200, new byte[0]));
        }
        try {
            Response response = handler.handle(request);
            if (response == null) {
                throw new NullPointerException("the handler returned no response");
            }
            return respond(request, response);
        } catch (Unwritable fault) {
            throw fault;
        } catch (Throwable failure) {
            if (request.body.fault != null) {
                throw request.body.fault; // whatever a parser has wrapped around it
            }
            failure.printStackTrace();
            if (begun) {
                throw new IOException("the answer broke off"); // it must not look complete
            }
            Response apology = Response.of(500, "Internal Server Error\n");
            // Out of memory, for instance: another process will do better.
            boolean sick = failure instanceof VirtualMachineError && !(failure instanceof StackOverflowError);
            return respond(request, sick ? apology.header("Connection", "close") : apology);
        }
    }

    private boolean respond(Request request, Response response) throws IOException {
        boolean close = stopping || request.body.fault != null;
        String told = null;
        List<String> lines = new ArrayList<>();
        for (String[] field : response.fields) {
            if (field[0].equalsIgnoreCase("Connection")) {
                close |= field[1].equalsIgnoreCase("close");
            } else if (field[0].equalsIgnoreCase("Content-Length")) {
                told = field[1];
            } else if (!field[0].equalsIgnoreCase("Transfer-Encoding")) {
                lines.add(field[0] + ": " + field[1]);
            }
        }
        if (close) {
            lines.add("Connection: close");
        }
        boolean bodiless = response.status == 204 || response.status == 304;
        boolean head = request.method.equals("HEAD");
        if (!bodiless) {
            lines.add(framing(response, head ? told : null));
        }
        byte[] end = deliver(head(response.status, lines), response, bodiless || head);
        if (!close) { // no response is complete before its request, unless this process ends with it
            request.body.transferTo(OutputStream.nullOutputStream());
        }
        send(end);
        return !close;
    }

    /** The field that frames a response; to HEAD a handler may tell a length without having the content. */
    private static String framing(Response response, String told) {
        if (told != null) {
            return "Content-Length: " + told;
        }
        return response.whole != null ? "Content-Length: " + response.whole.length : "Transfer-Encoding: chunked";
    }

    /** Sends what is to be sent before the request has been read to its end; returns the rest of the response. */
    private byte[] deliver(byte[] head, Response response, boolean silent) throws IOException {
        if (silent) {
            return head;
        }
        if (response.whole != null) {
            return joined(head, response.whole);
        }
        Chunks chunks = new Chunks(head);
        try {
            response.content.writeTo(chunks);
        } catch (IOException | RuntimeException fault) {
            throw fault;
        } catch (Exception fault) {
            throw new IOException(fault);
        }
        return chunks.last();
    }

    private void send(byte[] data) throws Unwritable {
        begun = true;
        try {
            answers.write(data);
        } catch (IOException fault) {
            throw new Unwritable(fault);
        }
    }

    private static byte[] head(int status, List<String> lines) {
        String text = "HTTP/1.1 " + status + " \r\n" + String.join("\r\n", lines) + (lines.isEmpty() ? "\r\n" : "\r\n\r\n");
        return text.getBytes(StandardCharsets.ISO_8859_1);
    }

    private static byte[] joined(byte[] first, byte[] second) {
        byte[] both = Arrays.copyOf(first, first.length + second.length);
        System.arraycopy(second, 0, both, first.length, second.length);
        return both;
    }

    /** Name and value of a line. No space before the colon and no folded lines: RFC 9112 sections 5.1 and 5.2. */
    private static String[] field(String line) throws BadRequest {
        int colon = line.indexOf(':');
        String name = colon < 0 ? "" : line.substring(0, colon);
        String value = line.substring(colon + 1).replaceAll("^[ \\t]+|[ \\t]+$", "");
        if (!FIELD_NAME.matcher(name).matches() || !FIELD_VALUE.matcher(value).matches()) {
            throw new BadRequest(400, "not a header field: " + quoted(line));
        }
        return new String[] {name, value};
    }

    /** The beginning of something from outside, safe to be written into a log. */
    private static String quoted(String text) {
        return text.substring(0, Math.min(80, text.length())).replaceAll("[^\\x20-\\x7e]", "?");
    }

    /** stdin ended inside a request: whoever waited for the answer is gone. */
    private static final class Ended extends IOException {
        private static final long serialVersionUID = 1;

        Ended() {
            super("stdin ended inside a request");
        }
    }

    /** stdout is gone, and with it whoever waited for the answer. */
    private static final class Unwritable extends IOException {
        private static final long serialVersionUID = 1;

        Unwritable(IOException cause) {
            super("stdout: " + cause.getMessage(), cause);
        }
    }

    /** Bytes of stdin, by lines and by pieces. */
    private static final class Input {
        private final InputStream source;
        private final byte[] data = new byte[PIECE];
        private int at;
        private int end;

        Input(InputStream source) {
            this.source = source;
        }

        /** Waits until there are bytes; false at the end. */
        boolean await() throws IOException {
            if (at == end) {
                at = 0;
                end = Math.max(0, source.read(data));
            }
            return end > 0;
        }

        private void need() throws IOException {
            if (!await()) {
                throw new Ended();
            }
        }

        int read(byte[] into, int offset, int most) throws IOException {
            need();
            int count = Math.min(most, end - at);
            System.arraycopy(data, at, into, offset, count);
            at += count;
            return count;
        }

        /** A line without its CRLF, of at most so many bytes with it. */
        String line(int most, int status) throws IOException {
            StringBuilder line = new StringBuilder();
            for (int count = 1; count <= most; count++) {
                need();
                char next = (char) (data[at++] & 0xff);
                if (next != '\n') {
                    line.append(next);
                    continue;
                }
                int last = line.length() - 1;
                if (last < 0 || line.indexOf("\r") != last) {
                    throw new BadRequest(400, "a line that does not end in CRLF");
                }
                return line.substring(0, last);
            }
            throw new BadRequest(status, "more than " + (status == 431 ? MAX_HEAD : most) + " bytes of head or line");
        }
    }

    /** Lines of a head or of trailers, all of them together limited. */
    private static final class Lines {
        private final Input input;
        private int left = MAX_HEAD;

        Lines(Input input) {
            this.input = input;
        }

        String next() throws IOException {
            String line = input.line(left, 431);
            left -= line.length() + 2;
            return line;
        }
    }

    /** A request's body, by length or by chunks. */
    private static final class Body extends InputStream {
        private final Input input;
        private long left;
        private boolean more;
        private boolean first = true;
        private IOException fault;

        Body(Input input, long left, boolean chunked) {
            this.input = input;
            this.left = left;
            this.more = chunked;
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] into, int offset, int most) throws IOException {
            if (fault != null) {
                throw fault;
            }
            try {
                if (most == 0 || (left == 0 && !nextChunk())) {
                    return most == 0 ? 0 : -1;
                }
                int count = input.read(into, offset, (int) Math.min(most, left));
                left -= count;
                return count;
            } catch (IOException broken) {
                fault = broken;
                throw broken;
            }
        }

        /** Begins the next chunk (RFC 9112 section 7.1); false behind the last one and its trailers. */
        private boolean nextChunk() throws IOException {
            if (!more) {
                return false;
            }
            if (!first && !input.line(2, 400).isEmpty()) {
                throw new BadRequest(400, "a chunk that is longer than its size");
            }
            first = false;
            String line = input.line(MAX_CHUNK_LINE, 400);
            Matcher found = CHUNK_LINE.matcher(line);
            left = found.matches() ? Long.parseUnsignedLong(found.group(1), 16) : -1;
            if (left < 0) {
                throw new BadRequest(400, "not the size of a chunk: " + quoted(line));
            }
            if (left == 0) {
                more = false;
                Lines trailers = new Lines(input);
                for (String trailer = trailers.next(); !trailer.isEmpty(); trailer = trailers.next()) {
                    field(trailer);
                }
            }
            return more;
        }
    }

    /** Sends what is written as chunks, the head before the first: an exception until then can still become a 500. */
    private final class Chunks extends OutputStream {
        private final ByteArrayOutputStream waiting = new ByteArrayOutputStream();
        private byte[] head;
        private boolean closed;

        Chunks(byte[] head) {
            this.head = head;
        }

        @Override
        public void write(int one) throws IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public void write(byte[] from, int offset, int count) throws IOException {
            if (closed) {
                throw new IOException("the response is complete");
            }
            waiting.write(from, offset, count);
            if (waiting.size() >= PIECE) {
                flush();
            }
        }

        @Override
        public void flush() throws IOException {
            if (closed || waiting.size() == 0) {
                return;
            }
            String size = Integer.toHexString(waiting.size()) + "\r\n";
            byte[] begin = joined(head, size.getBytes(StandardCharsets.ISO_8859_1));
            waiting.write('\r');
            waiting.write('\n');
            send(joined(begin, waiting.toByteArray()));
            head = new byte[0];
            waiting.reset();
        }

        /** Not the end of the answer: a writer is closed on the way out of a failure too, and that must show. */
        @Override
        public void close() throws IOException {
            flush();
        }

        /** The last chunk, with the head if that has not been sent. */
        byte[] last() throws IOException {
            flush();
            closed = true;
            return joined(head, "0\r\n\r\n".getBytes(StandardCharsets.ISO_8859_1));
        }
    }
}
