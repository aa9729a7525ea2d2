import com.google.gson.Gson;
import io.spiffe.bundle.jwtbundle.JwtBundleSet;
import io.spiffe.provider.SpiffeSslContextFactory;
import io.spiffe.provider.SpiffeSslContextFactory.SslContextOptions;
import io.spiffe.spiffeid.SpiffeId;
import io.spiffe.svid.jwtsvid.JwtSvid;
import io.spiffe.workloadapi.DefaultWorkloadApiClient;
import io.spiffe.workloadapi.DefaultX509Source;
import io.spiffe.workloadapi.Watcher;
import io.spiffe.workloadapi.WorkloadApiClient;
import io.spiffe.workloadapi.X509Context;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/** The suite's client over java-spiffe; ../README.md tells its verbs. */
public final class Peer {
    private static final int CALL_DEADLINE_MILLIS = 30_000;
    private static final Gson GSON = new Gson();

    private Peer() {}

    public static void main(String[] words) {
        try {
            run(words);
            System.exit(0);
        } catch (Exception error) {
            say(Map.of("error", text(error)));
            System.exit(1);
        }
    }

    private static void run(String[] words) throws Exception {
        String verb = words.length == 0 ? "" : words[0];
        if (verb.equals("fetch-x509") && words.length == 1) {
            fetchX509();
        } else if (verb.equals("watch-x509") && words.length == 1) {
            watchX509();
        } else if (verb.equals("fetch-jwt") && words.length == 2) {
            fetchJwt(words[1]);
        } else if (verb.equals("validate-jwt") && words.length == 3) {
            validateJwt(words[1], words[2]);
        } else if (verb.equals("serve") && words.length > 1) {
            serve(Arrays.asList(words).subList(1, words.length));
        } else if (verb.equals("dial") && words.length == 1) {
            dial();
        } else {
            throw new IllegalArgumentException("unknown verb or number of words; see the README beside");
        }
    }

    private static synchronized void say(Object line) {
        System.out.println(GSON.toJson(line));
        System.out.flush();
    }

    private static Object describe(X509Context context) {
        List<Object> svids = new ArrayList<>();
        context.getX509Svids().forEach(svid -> {
            Map<String, String> one = new LinkedHashMap<>();
            one.put("id", svid.getSpiffeId().toString());
            one.put("serial", svid.getLeaf().getSerialNumber().toString(16));
            one.put("hint", svid.getHint() == null ? "" : svid.getHint());
            svids.add(one);
        });
        Map<String, Integer> bundles = new LinkedHashMap<>();
        context.getX509BundleSet().getBundles().forEach(
                (domain, bundle) -> bundles.put(domain.toString(), bundle.getX509Authorities().size()));
        return Map.of("svids", svids, "bundles", bundles);
    }

    private static void fetchX509() throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            say(describe(client.fetchX509Context()));
        }
    }

    /** The library opens a denied stream again by itself and says so to its log alone, so that is where the code is read. */
    private static void watchX509() throws Exception {
        Logger log = Logger.getLogger("io.spiffe.workloadapi.StreamObservers");
        log.addHandler(new Handler() {
            @Override
            public void publish(LogRecord record) {
                if (record.getThrown() != null) {
                    say(Map.of("error", code(record.getThrown())));
                }
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        });
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            client.watchX509Context(new Watcher<X509Context>() {
                @Override
                public void onUpdate(X509Context context) {
                    say(describe(context));
                }

                @Override
                public void onError(Throwable error) {
                    say(Map.of("error", code(error)));
                }
            });
            untilInputEnds();
        }
    }

    /** The gRPC code by the name that all peers use, or what the library says instead. */
    private static String code(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (String.valueOf(cause.getMessage()).startsWith("PERMISSION_DENIED")) {
                return "PermissionDenied";
            }
        }
        return text(error);
    }

    private static void fetchJwt(String audience) throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            JwtSvid svid = client.fetchJwtSvid(audience);
            say(Map.of("id", svid.getSpiffeId().toString(), "token", svid.getToken()));
        }
    }

    /** Checks with the library against the JWT bundles, and asks the Workload API too: both must agree. */
    private static void validateJwt(String audience, String token) throws Exception {
        try (WorkloadApiClient client = DefaultWorkloadApiClient.newClient()) {
            JwtBundleSet bundles = client.fetchJwtBundles();
            JwtSvid here = JwtSvid.parseAndValidate(token, bundles, Set.of(audience));
            JwtSvid there = client.validateJwtSvid(token, audience);
            if (!here.getSpiffeId().equals(there.getSpiffeId())) {
                throw new IllegalStateException(
                        "the library says " + here.getSpiffeId() + ", the Workload API says " + there.getSpiffeId());
            }
            say(Map.of("id", here.getSpiffeId().toString()));
        }
    }

    private static SSLContext tls(DefaultX509Source source, List<String> ids) throws Exception {
        Set<SpiffeId> accepted = new HashSet<>();
        ids.forEach(id -> accepted.add(SpiffeId.parse(id)));
        return SpiffeSslContextFactory.getSslContext(
                SslContextOptions.builder().x509Source(source).acceptedSpiffeIdsSupplier(() -> accepted).build());
    }

    private static void serve(List<String> ids) throws Exception {
        try (DefaultX509Source source = DefaultX509Source.newSource()) {
            SSLServerSocket listener = (SSLServerSocket) tls(source, ids).getServerSocketFactory()
                    .createServerSocket(0, 50, InetAddress.getLoopbackAddress());
            listener.setNeedClientAuth(true);
            say(Map.of("port", listener.getLocalPort()));
            Thread accepting = new Thread(() -> {
                while (true) {
                    try {
                        SSLSocket connection = (SSLSocket) listener.accept();
                        Thread answering = new Thread(() -> echo(connection));
                        answering.setDaemon(true);
                        answering.start();
                    } catch (IOException closed) {
                        return;
                    }
                }
            });
            accepting.setDaemon(true);
            accepting.start();
            untilInputEnds();
            listener.close();
        }
    }

    private static void echo(SSLSocket connection) {
        try (connection) {
            connection.setSoTimeout(CALL_DEADLINE_MILLIS);
            connection.startHandshake();
            say(Map.of("peer", peerOf(connection)));
            BufferedReader lines = reader(connection);
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                write(connection, line);
            }
        } catch (Exception error) {
            say(Map.of("error", text(error)));
        }
    }

    private static void dial() throws Exception {
        try (DefaultX509Source source = DefaultX509Source.newSource()) {
            BufferedReader peers = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String peer = peers.readLine(); peer != null; peer = peers.readLine()) {
                String address = peer.substring(0, peer.indexOf(' '));
                List<String> server = List.of(peer.substring(peer.indexOf(' ') + 1));
                // A context of its own for each connection: the library's would resume a session of an older certificate.
                try (SSLSocket connection = (SSLSocket) tls(source, server).getSocketFactory().createSocket()) {
                    int colon = address.lastIndexOf(':');
                    connection.connect(new InetSocketAddress(address.substring(0, colon),
                            Integer.parseInt(address.substring(colon + 1))), CALL_DEADLINE_MILLIS);
                    connection.setSoTimeout(CALL_DEADLINE_MILLIS);
                    connection.startHandshake();
                    write(connection, "hello from java");
                    String answer = reader(connection).readLine();
                    if (answer == null) {
                        throw new IOException("no answer: the connection ended");
                    }
                    say(Map.of("peer", peerOf(connection), "answer", answer));
                } catch (Exception error) {
                    say(Map.of("error", text(error)));
                }
            }
        }
    }

    private static BufferedReader reader(SSLSocket connection) throws IOException {
        return new BufferedReader(new InputStreamReader(connection.getInputStream(), StandardCharsets.UTF_8));
    }

    private static void write(SSLSocket connection, String line) throws IOException {
        OutputStream out = connection.getOutputStream();
        out.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        out.flush();
    }

    private static String peerOf(SSLSocket connection) throws Exception {
        X509Certificate leaf = (X509Certificate) connection.getSession().getPeerCertificates()[0];
        for (List<?> name : leaf.getSubjectAlternativeNames()) {
            if (Integer.valueOf(6).equals(name.get(0))) {
                return (String) name.get(1);
            }
        }
        throw new IllegalStateException("the peer's certificate names no URI");
    }

    private static void untilInputEnds() {
        try {
            while (System.in.read() >= 0) { }
        } catch (IOException closed) {
            // Closed is ended.
        }
    }

    private static String text(Throwable error) {
        StringBuilder text = new StringBuilder(String.valueOf(error.getMessage()));
        for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
            text.append(": ").append(cause.getMessage());
        }
        return text.toString();
    }
}
