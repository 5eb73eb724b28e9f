import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** The same function in two ways: once per process, and again and again by the library of the examples. */
public final class Upper {

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0) {
            Afterburn.serve(request -> Afterburn.Response.of(200, upper(request.text())));
        } else {
            System.out.print(upper(new String(System.in.readAllBytes(), StandardCharsets.UTF_8)));
        }
    }

    private static String upper(String text) {
        return text.toUpperCase(Locale.ROOT);
    }
}
