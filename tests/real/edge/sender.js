// The stock Node SDK: tells the same telemetry to whom it is asked to, as sender.py does; see there for the lines it
// reads and writes. It has OTLP/JSON too.
'use strict';

const readline = require('node:readline');
const { diag, DiagLogLevel, SpanKind, SpanStatusCode, ROOT_CONTEXT, trace, createTraceState } = require('@opentelemetry/api');
const { SeverityNumber } = require('@opentelemetry/api-logs');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const sdk = require('@opentelemetry/sdk-node');

const exporters = {
  grpc: [
    require('@opentelemetry/exporter-trace-otlp-grpc').OTLPTraceExporter,
    require('@opentelemetry/exporter-metrics-otlp-grpc').OTLPMetricExporter,
    require('@opentelemetry/exporter-logs-otlp-grpc').OTLPLogExporter,
  ],
  'http/protobuf': [
    require('@opentelemetry/exporter-trace-otlp-proto').OTLPTraceExporter,
    require('@opentelemetry/exporter-metrics-otlp-proto').OTLPMetricExporter,
    require('@opentelemetry/exporter-logs-otlp-proto').OTLPLogExporter,
  ],
  'http/json': [
    require('@opentelemetry/exporter-trace-otlp-http').OTLPTraceExporter,
    require('@opentelemetry/exporter-metrics-otlp-http').OTLPMetricExporter,
    require('@opentelemetry/exporter-logs-otlp-http').OTLPLogExporter,
  ],
};

const START = [1760000000, 7];
const later = (nanos) => [START[0], START[1] + nanos];
const parent = { traceId: 'fe000000000000000000000000000001', spanId: 'ff00000000000002', traceFlags: 1, isRemote: true };
const resource = resourceFromAttributes({ 'service.name': 'edge-node', numbers: [1, -1], yes: true, '\u00fcml\u00e4ut': '\u2603\u{1f600}' });

// JSON as this SDK writes it has no NaN and no infinities (null), no minus zero (0) and no bytes (an object of numbers).
const plain = {
  text: 'quote " backslash \\ newline \n \u2028 \u{1f600}',
  empty: '',
  largest: Number.MAX_SAFE_INTEGER,
  smallest: Number.MIN_SAFE_INTEGER,
  denormal: 5e-324,
  third: 1 / 3,
  no: false,
  texts: ['a', '', '\u00e9'],
  doubles: [1.5, -2.5],
  'none at all': [],
};
const odd = { nan: NaN, infinite: Infinity, 'minus infinite': -Infinity, 'minus zero': -0 };
const bytes = new Uint8Array(256).map((_, at) => at);
const body = { text: 'a body', list: [1, 'two', 3.5, true, null, [], { deep: { deeper: [{}] } }] };

function spans(attributes, name = 'rich') {
  const kept = new sdk.tracing.InMemorySpanExporter();
  const provider = new sdk.tracing.BasicTracerProvider({ resource, spanProcessors: [new sdk.tracing.SimpleSpanProcessor(kept)] });
  const tracer = provider.getTracer('edge', '1.2.3', { schemaUrl: 'https://example.test/schema' });
  const traceState = createTraceState('vendor=value,other=t61rcWkgMzE');
  const context = trace.setSpanContext(ROOT_CONTEXT, { ...parent, traceState });
  const links = [{ context: { ...parent, traceFlags: 0, traceState }, attributes: { link: 2 ** 52 } }];
  const span = tracer.startSpan(name, { kind: SpanKind.PRODUCER, attributes, links, startTime: START }, context);
  span.addEvent('event', { 'exception.type': 'E', count: -1 }, later(1));
  span.setStatus({ code: SpanStatusCode.ERROR, message: 'went wrong: \u2603' });
  span.end(later(3));
  tracer.startSpan('plain', { startTime: START }, ROOT_CONTEXT).end(START);
  return kept.getFinishedSpans();
}

async function metrics() {
  class Reader extends sdk.metrics.MetricReader {
    async onForceFlush() {}
    async onShutdown() {}
  }
  const reader = new Reader();
  const aggregation = { type: sdk.metrics.AggregationType.EXPONENTIAL_HISTOGRAM };
  const provider = new sdk.metrics.MeterProvider({ resource, readers: [reader], views: [{ instrumentName: 'exponential', aggregation }] });
  const meter = provider.getMeter('edge', '1.2.3');
  meter.createCounter('counter', { unit: '1', description: 'counts' }).add(2 ** 52, { a: 'b' });
  meter.createUpDownCounter('up.down', { valueType: 0 }).add(-7, { a: 1 });
  meter.createGauge('gauge').record(0.25);
  for (const value of [0, 1.5, 1e9, 5e-324]) {
    meter.createHistogram('explicit', { advice: { explicitBucketBoundaries: [0, 1] } }).record(value);
    meter.createHistogram('exponential').record(value, { e: true });
  }
  return (await reader.collect()).resourceMetrics;
}

function logs(records) {
  const kept = new sdk.logs.InMemoryLogRecordExporter();
  const provider = new sdk.logs.LoggerProvider({ resource, processors: [new sdk.logs.SimpleLogRecordProcessor(kept)] });
  const logger = provider.getLogger('edge', '1.2.3');
  const context = trace.setSpanContext(ROOT_CONTEXT, parent);
  for (const record of records) {
    logger.emit({ context, timestamp: START, observedTimestamp: later(5), severityNumber: SeverityNumber.WARN2, severityText: 'warn \u2603', eventName: 'edge.event', ...record });
  }
  return kept.getFinishedLogRecords();
}

function nested(levels) {
  return levels === 0 ? 'bottom' : [nested(levels - 1)];
}

function oneSpan(id, filler) {
  const [span] = spans({ filler }, 'one');
  const context = { ...span.spanContext(), traceId: id };
  return [Object.create(span, { spanContext: { value: () => context } })];
}

const once = {};
async function batches({ what, id }) {
  switch (what) {
    case 'everything':
      return (once.all ??= [spans({ ...plain, ...odd }), await metrics(), logs([{ body: { ...body, bytes }, attributes: { ...plain, ...odd } }])]);
    case 'everything that JSON has':
      return (once.json ??= [spans(plain), await metrics(), logs([{ body, attributes: plain }])]);
    case 'one span':
      return [oneSpan(id, 'x'), null, null];
    case 'a large span':
      return [oneSpan(id, '0123456789abcdef'.repeat(20000)), null, null];
    case 'a span of two megabytes':
      return [oneSpan(id, '0123456789abcdef'.repeat(131072)), null, null];
    case 'a bottomless log record':
      return [null, null, logs([{ body: nested(80) }])];
    case 'a bottomless log record beside another':
      return [null, null, logs([{ body: nested(80) }, { body: 'a body' }])];
    default:
      throw new Error(what);
  }
}

// Kept, as an application keeps them: so are their connections.
const kept = {};
function exportersOf(order) {
  return (kept[`${order.to} ${order.protocol} ${order.compression}`] ??= exporters[order.protocol].map((Exporter, at) => {
    const signal = ['traces', 'metrics', 'logs'][at];
    const url = order.protocol === 'grpc' ? order.to : `${order.to}/v1/${signal}`;
    return new Exporter({ url, compression: order.compression });
  }));
}

async function send(order) {
  const made = exportersOf(order);
  const started = performance.now();
  const sent = [];
  for (const [at, batch] of (await batches(order)).entries()) {
    if (batch !== null) {
      sent.push(await new Promise((resolve) => made[at].export(batch, ({ code, error }) => {
        if (error) log.push(`${error}`);
        resolve(code === 0);
      })));
    }
  }
  return { sent, seconds: (performance.now() - started) / 1000 };
}

let log = [];
const write = (...words) => log.push(words.map(String).join(' '));
diag.setLogger({ error: write, warn: write, info: write, debug() {}, verbose() {} }, { logLevel: DiagLogLevel.INFO, suppressOverrideMessage: true });

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    log = [];
    const answer = await send(JSON.parse(line));
    process.stdout.write(`${JSON.stringify({ ...answer, log: log.join('\n') })}\n`);
  }
})();
