import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStream;
import javax.xml.XMLConstants;
import javax.xml.transform.Templates;
import javax.xml.transform.TransformerException;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.stream.StreamResult;
import javax.xml.transform.stream.StreamSource;

/**
 * An RSS or Atom feed in, an HTML list out. The stylesheet named by the first argument is compiled once, before the first
 * request; that and the loading of some thousand classes is what a process for each request would pay for every time.
 */
public final class Feed {

    private final Templates stylesheet;

    private Feed(File stylesheet) throws TransformerException {
        TransformerFactory factory = TransformerFactory.newInstance();
        factory.setFeature(XMLConstants.FEATURE_SECURE_PROCESSING, true);
        // What a feed names is not fetched: neither a DTD nor an external entity.
        factory.setAttribute(XMLConstants.ACCESS_EXTERNAL_DTD, "");
        this.stylesheet = factory.newTemplates(new StreamSource(stylesheet));
    }

    public static void main(String[] arguments) throws TransformerException {
        Feed feed = new Feed(new File(arguments[0]));
        feed.list(new ByteArrayInputStream("<rss/>".getBytes())); // the first caller need not wait for classes either
        Afterburn.serve(feed::handle);
    }

    private byte[] list(InputStream feed) throws TransformerException {
        ByteArrayOutputStream list = new ByteArrayOutputStream();
        stylesheet.newTransformer().transform(new StreamSource(feed), new StreamResult(list));
        return list.toByteArray();
    }

    private Afterburn.Response handle(Afterburn.Request request) {
        byte[] list;
        try {
            list = list(request.body());
        } catch (TransformerException fault) {
            return Afterburn.Response.of(400, "not well-formed XML, or XML that asks for more than itself\n");
        }
        return Afterburn.Response.of(200, list).header("Content-Type", "text/html; charset=utf-8");
    }
}
