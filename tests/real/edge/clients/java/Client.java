import com.google.protobuf.ByteString;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse;
import io.opentelemetry.proto.collector.trace.v1.TraceServiceGrpc;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.resource.v1.Resource;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import java.io.File;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/**
 * grpc-java on one connection: two thousand requests a second for a while, then as fast as it goes, beside a connection of
 * the same kind that says nothing. Prints what came of it as one line of JSON.
 *
 * <p>Arguments: HOST:PORT DELAY PACED RATE REQUESTS FULL HOLD, as clients/go has them; times in seconds.
 */
public final class Client {
    /** What grpc-java raises any shorter keepalive time to. */
    private static final long FASTEST_KEEPALIVE_SECONDS = 10;
    private static final long PATIENCE_SECONDS = 20;
    private static final int SPANS_PER_REQUEST = 10;
    private static final int IN_FLIGHT_MAX = 48;

    private static final String AUTHORITY = "OTEL_EXPORTER_OTLP_CERTIFICATE";

    private static final ExportTraceServiceRequest REQUEST = request();

    private final Wire wire = new Wire();
    private final ManagedChannel channel;
    private final TraceServiceGrpc.TraceServiceStub stub;
    private final Semaphore places = new Semaphore(IN_FLIGHT_MAX);
    private final AtomicLong sent = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicLong slowest = new AtomicLong();
    private final List<String> failures = Collections.synchronizedList(new ArrayList<>());

    /** Every option at its default but keepalive, which is as fast as it may be; the channel is only counted. */
    private Client(String to) throws IOException {
        if (System.getenv(AUTHORITY) != null) {
            channel = secured(to);
            stub = TraceServiceGrpc.newStub(channel).withInterceptors(MetadataUtils.newAttachHeadersInterceptor(header()));
            return;
        }
        channel = NettyChannelBuilder.forTarget(to, InsecureChannelCredentials.create())
            .channelFactory(() -> wire.below(new NioSocketChannel()))
            .eventLoopGroup(new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory()))
            .keepAliveTime(FASTEST_KEEPALIVE_SECONDS, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true)
            .build();
        stub = TraceServiceGrpc.newStub(channel);
    }

    /** Over TLS by the SDKs' own variables; what lies below TLS cannot be counted. */
    private static ManagedChannel secured(String to) throws IOException {
        TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder().trustManager(new File(System.getenv(AUTHORITY)));
        String certificate = System.getenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
        if (certificate != null) {
            credentials.keyManager(new File(certificate), new File(System.getenv("OTEL_EXPORTER_OTLP_CLIENT_KEY")));
        }
        return NettyChannelBuilder.forTarget(to, credentials.build()).build();
    }

    private static Metadata header() {
        Metadata headers = new Metadata();
        String pair = System.getenv().getOrDefault("OTEL_EXPORTER_OTLP_HEADERS", "");
        if (!pair.isEmpty()) {
            String value = URLDecoder.decode(pair.substring(pair.indexOf('=') + 1), StandardCharsets.UTF_8);
            headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), value);
        }
        return headers;
    }

    public static void main(String[] words) throws InterruptedException, IOException {
        long begun = System.nanoTime();
        long[] seconds = new long[words.length];
        for (int at = 1; at < words.length; at++) {
            seconds[at] = Long.parseLong(words[at]);
        }
        long delay = seconds[1], paced = seconds[2], rate = seconds[3], requests = seconds[4], full = seconds[5], hold = seconds[6];
        Client busy = new Client(words[0]), idle = new Client(words[0]);
        busy.run(0, 1, PATIENCE_SECONDS);
        idle.run(0, 1, PATIENCE_SECONDS);
        Thread.sleep(delay * 1000);
        double pacedSeconds = busy.run(rate, 0, paced);
        long pacedRequests = busy.sent.get(), pacedPings = busy.wire.pings.get();
        double fullSeconds = requests > pacedRequests ? busy.run(0, requests - pacedRequests, full) : 0;
        Thread.sleep(Math.max(0, hold * 1000 - (System.nanoTime() - begun) / 1_000_000));
        busy.run(0, 1, PATIENCE_SECONDS);
        idle.run(0, 1, PATIENCE_SECONDS);
        List<String> failures = new ArrayList<>(busy.failures);
        failures.addAll(idle.failures);
        System.out.printf(
            "{\"client\": \"grpc-java %s\", \"spans\": %d, \"requests\": %d, \"failed\": %d, \"failures\": %s, "
                + "\"paced_requests\": %d, \"paced_seconds\": %s, \"paced_pings\": %d, \"full_seconds\": %s, "
                + "\"slowest_ms\": %s, \"held_seconds\": %s, \"busy\": %s, \"idle\": %s}%n",
            version(), SPANS_PER_REQUEST * (busy.sent.get() + idle.sent.get()), busy.sent.get(),
            busy.failed.get() + idle.failed.get(), Wire.strings(failures), pacedRequests, pacedSeconds, pacedPings, fullSeconds,
            busy.slowest.get() / 1e6, (System.nanoTime() - begun) / 1e9, busy.wire.seen(), idle.wire.seen());
        System.out.flush();
        // The event loops are no daemons.
        System.exit(0);
    }

    /** As `load.run` of clients/go: seconds it took. */
    private double run(long rate, long requests, long most) throws InterruptedException {
        long begun = System.nanoTime();
        for (long number = 0; requests == 0 || number < requests; number++) {
            if (rate > 0) {
                long ahead = begun + number * 1_000_000_000 / rate - System.nanoTime();
                if (ahead > 0) {
                    LockSupport.parkNanos(ahead);
                }
            }
            if (System.nanoTime() - begun >= most * 1_000_000_000) {
                break;
            }
            places.acquire();
            send();
        }
        places.acquire(IN_FLIGHT_MAX);
        places.release(IN_FLIGHT_MAX);
        return (System.nanoTime() - begun) / 1e9;
    }

    private void send() {
        long begun = System.nanoTime();
        stub.withDeadlineAfter(PATIENCE_SECONDS, TimeUnit.SECONDS).export(REQUEST, new StreamObserver<>() {
            @Override
            public void onNext(ExportTraceServiceResponse response) {}

            @Override
            public void onCompleted() {
                end();
            }

            @Override
            public void onError(Throwable error) {
                failed.incrementAndGet();
                if (failures.size() < 5) {
                    failures.add(error.toString());
                }
                end();
            }

            private void end() {
                sent.incrementAndGet();
                slowest.accumulateAndGet(System.nanoTime() - begun, Math::max);
                places.release();
            }
        });
    }

    private static String version() {
        String jar = io.grpc.netty.NettyChannelBuilder.class.getProtectionDomain().getCodeSource().getLocation().getPath();
        return jar.replaceAll(".*grpc-netty-(.*)\\.jar", "$1");
    }

    private static ExportTraceServiceRequest request() {
        byte[] trace = new byte[16];
        trace[0] = (byte) 0xed;
        ScopeSpans.Builder spans = ScopeSpans.newBuilder();
        for (byte number = 1; number <= SPANS_PER_REQUEST; number++) {
            spans.addSpans(Span.newBuilder()
                .setTraceId(ByteString.copyFrom(trace))
                .setSpanId(ByteString.copyFrom(new byte[] {1, 2, 3, 4, 5, 6, 7, number}))
                .setName("GET /")
                .setKind(Span.SpanKind.SPAN_KIND_SERVER)
                .setStartTimeUnixNano(1)
                .setEndTimeUnixNano(2));
        }
        KeyValue service = KeyValue.newBuilder().setKey("service.name").setValue(AnyValue.newBuilder().setStringValue("shop")).build();
        ResourceSpans group = ResourceSpans.newBuilder()
            .setResource(Resource.newBuilder().addAttributes(service))
            .addScopeSpans(spans)
            .build();
        return ExportTraceServiceRequest.newBuilder().addResourceSpans(group).build();
    }
}
