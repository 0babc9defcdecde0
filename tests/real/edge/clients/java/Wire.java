import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.channel.socket.nio.NioSocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

/** Counts what goes over the connections of one client: it stands below the client and changes nothing. */
final class Wire {
    // RFC 9113, section 6.
    private static final int DATA = 0, PING = 6, GOAWAY = 7, ACK = 1, HEAD_BYTES = 9, PREFACE_BYTES = 24;

    final AtomicLong connections = new AtomicLong();
    final AtomicLong pings = new AtomicLong();
    private final AtomicLong answers = new AtomicLong();
    private final List<String> goAways = Collections.synchronizedList(new ArrayList<>());

    NioSocketChannel below(NioSocketChannel channel) {
        connections.incrementAndGet();
        channel.pipeline().addFirst(new Counter());
        return channel;
    }

    String seen() {
        return String.format("{\"connections\": %d, \"pings\": %d, \"answers\": %d, \"goaways\": %s}",
            connections.get(), pings.get(), answers.get(), strings(goAways));
    }

    static String strings(List<String> all) {
        List<String> quoted = new ArrayList<>();
        for (String one : all) {
            quoted.add('"' + one.replaceAll("[^ -~]|[\"\\\\]", "?") + '"');
        }
        return "[" + String.join(", ", quoted) + "]";
    }

    private final class Counter extends ChannelDuplexHandler {
        private final Frames out = new Frames(PREFACE_BYTES), in = new Frames(0);

        @Override
        public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
            if (message instanceof ByteBuf bytes) {
                out.take(bytes);
            }
            context.write(message, promise);
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (message instanceof ByteBuf bytes) {
                in.take(bytes);
            }
            context.fireChannelRead(message);
        }
    }

    /** Cuts one direction of a connection into frames, however its bytes come. */
    private final class Frames {
        private final boolean outwards;
        private final byte[] head = new byte[HEAD_BYTES];
        private int filled, skip;
        private final StringBuilder farewell = new StringBuilder();

        Frames(int skip) {
            this.skip = skip;
            outwards = skip > 0;
        }

        void take(ByteBuf bytes) {
            int at = bytes.readerIndex(), end = bytes.writerIndex();
            while (at < end) {
                if (skip > 0) {
                    int skipped = Math.min(skip, end - at);
                    if (filled == HEAD_BYTES && head[3] == GOAWAY) {
                        farewell.append(bytes.toString(at, skipped, StandardCharsets.ISO_8859_1));
                    }
                    skip -= skipped;
                    at += skipped;
                } else {
                    int taken = Math.min(HEAD_BYTES - filled, end - at);
                    bytes.getBytes(at, head, filled, taken);
                    filled += taken;
                    at += taken;
                    if (filled == HEAD_BYTES) {
                        skip = (head[0] & 0xff) << 16 | (head[1] & 0xff) << 8 | head[2] & 0xff;
                    }
                }
                if (skip == 0 && filled == HEAD_BYTES) {
                    frame();
                    filled = 0;
                }
            }
        }

        private void frame() {
            if (outwards && head[3] == PING && (head[4] & ACK) == 0) {
                pings.incrementAndGet();
            } else if (!outwards && head[3] == DATA) {
                answers.incrementAndGet();
            } else if (!outwards && head[3] == GOAWAY) {
                goAways.add("code " + (int) farewell.charAt(7) + " " + farewell.substring(8));
                farewell.setLength(0);
            }
        }
    }
}
