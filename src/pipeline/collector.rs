//! Component types of the Collector's distributions that podgate does not have, so that a message can tell a foreign
//! component from a slip of the pen; and those whose absence changes nothing.
//!
//! Types are compared without underscores: upstream renames `hostmetrics` to `host_metrics` type by type, and both are written.
//! Read from the metadata of the core and contrib repositories and of the vendors' distributions, 2026-10.

use crate::core::stage::component::Kind;

const RECEIVERS: &str = "activedirectoryds aerospike apache apachespark awscloudwatch awscontainerinsight \
    awscontainerinsightreceiver awsecscontainermetrics awsfirehose awslambda awss3 awsxray azureblob azureeventhub \
    azurefunctions azuremonitor bigip carbon chrony ciscointersight ciscoos cloudflare cloudfoundry collectd couchdb \
    datadog dockerstats elasticapmintake elasticsearch envoyals expvar faro file filestats flinkmetrics \
    fluentforward github gitlab gitprovider googlecloudmonitoring googlecloudpubsub googlecloudpubsubpush \
    googlecloudspanner haproxy hostmetrics httpcheck httplogreceiver huaweicloudces icmpcheck icmpcheckreceiver iis \
    influxdb integration jaeger jmx k8scluster k8sevents k8slog k8sobjects kafkametrics kubeletstats \
    libhoneyevent loadgen loki macosunifiedlogging memcached mongodb mongodbatlas mysql namedpipe netflow nginx nop \
    nsxt ntp opencensus oracledb osquery otelarrow otlpjsonfile podmanstats postgresql pprof profiling prometheus \
    prometheusremotewrite prometheussimple pulsar purefa purefb rabbitmq receivercreator redfish redis riak saphana \
    sapm signalfx signozkafkareceiver simpleprometheus skywalking smartagent snmp snowflake solace splunkenterprise \
    splunkhec sqlquery sqlserver sshcheck statsd stef syslog systemd tcpcheck tcplog tlscheck udplog vcenter vcr \
    wavefront webhookevent windowseventlog windowsperfcounters windowsservice yanggrpc zipkin zookeeper";

const PROCESSORS: &str = "awsapplicationsignals cascadingfilter coralogix cumulativetodelta datadogsemantics \
    deltatocumulative deltatorate dnslookup drain elasticapm elasticinframetrics elastictrace \
    experimentalmetricsgeneration genainormalizer geoip groupbyattrs groupbytrace interval isolationforest k8stagger \
    logdedup logstransform lookup lsminterval metricsgeneration metricstarttime metricstransform ratelimit redaction \
    remotetap routing schema servicegraph signozspanmetrics signoztailsampling source span spanmetrics spanpruning \
    sumologic sumologicschema timestamp unroll";

const EXPORTERS: &str = "alertmanager alibabacloudlogservice awscloudwatchlogs awsemf awskinesis awss3 awsxray \
    azureblob azuredataexplorer azuremonitor bmchelix carbon cassandra chronicle clickhouse clickhouselogsexporter \
    clickhousemetricswrite clickhousetraces coralogix datadog dataset doris dynatrace f5cloud faro \
    googlecloud googlecloudpubsub googlecloudstorage googlemanagedprometheus googlesecops honeycombmarker humio \
    influxdb instana jaeger jaegerstorageexporter jaegerthrift kinetica logicmonitor logzio loki \
    metadataexporter mezmo opencensus opensearch otelarrow parquet prometheus prometheusremotewrite pulsar rabbitmq \
    sapm sematext sentry signalfx signozclickhousemetrics skywalking splunkhec stef sumologic syslog \
    tanzuobservability tencentcloudlogservice tinybird zipkin";

const CONNECTORS: &str = "count datadog elasticapm exceptions failover grafanacloud metricsaslogs otlpjson \
    profilingmetrics roundrobin routing servicegraph signaltometrics signozmeter slowsql spanmetrics sum";

const EXTENSIONS: &str = "ack apmconfig asapclient asapauth avrologencoding awscloudwatchmetricstreamsencoding \
    awslogsencoding awsproxy azureauth azureencoding cfgardenobserver cgroupruntime datadog \
    dbstorage dockerobserver ecsobserver ecstaskobserver encoding expvar googleclientauth \
    googlecloudlogentryencoding healthcheckv2 hostobserver httpforwarder jaegerencoding jaegerquery \
    jaegerremotesampling jaegerstorage jsonlogencoding k8sleaderelector k8sobserver kafkatopicsobserver memoryballast \
    memorylimiter oidc opamp otlpencoding pprof redisstorage remotestoragecleaner remotetap sigv4auth \
    skywalkingencoding smartagent solarwindsapmsettings storage sumologic textencoding zipkinencoding zpages";

/// Extensions that serve what podgate does not have, or does by itself: read, and left without effect.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("zpages", "podgate's pages are those of the extension `admin`, on 127.0.0.1:13134 unless it says otherwise"),
    ("pprof", "there is no Go runtime to profile"),
    ("cgroupruntime", "podgate reads the cgroup's limits by itself"),
    ("memoryballast", "there is no garbage collector"),
    ("cfgardenobserver", OBSERVER),
    ("dockerobserver", OBSERVER),
    ("ecsobserver", OBSERVER),
    ("ecstaskobserver", OBSERVER),
    ("hostobserver", OBSERVER),
    ("k8sobserver", OBSERVER),
    ("kafkatopicsobserver", OBSERVER),
    ("k8sleaderelector", OBSERVER),
];

const OBSERVER: &str = "only receivers that podgate does not have ask it";

fn plain(component_type: &str) -> String {
    component_type.replace('_', "").to_ascii_lowercase()
}

/// True for a component type that a Collector distribution has.
pub fn has(kind: Kind, component_type: &str) -> bool {
    let names = match kind {
        Kind::Receiver => RECEIVERS,
        Kind::Processor => PROCESSORS,
        Kind::Exporter => EXPORTERS,
        Kind::Connector => CONNECTORS,
        Kind::Extension => EXTENSIONS,
    };
    let written = plain(component_type);
    names.split_ascii_whitespace().any(|name| name == written)
}

/// Why nothing is missing without this component; `None` for all others.
pub fn without_effect(kind: Kind, component_type: &str) -> Option<&'static str> {
    let written = plain(component_type);
    let known = WITHOUT_EFFECT.iter().find(|(name, _)| kind == Kind::Extension && *name == written);
    known.map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_spellings_are_known_and_slips_are_not() {
        for (kind, name) in [
            (Kind::Receiver, "filestats"),
            (Kind::Receiver, "file_stats"),
            (Kind::Receiver, "kafkametrics"),
            (Kind::Receiver, "awsecscontainermetrics"),
            (Kind::Processor, "routing"),
            (Kind::Exporter, "azureblob"),
            (Kind::Exporter, "prometheus_remote_write"),
            (Kind::Connector, "otlpjson"),
            (Kind::Connector, "span_metrics"),
            (Kind::Extension, "cgroup_runtime"),
            (Kind::Extension, "azure_auth"),
        ] {
            assert!(has(kind, name), "{} {name}", kind.name());
        }
        assert!(!has(Kind::Receiver, "otpl") && !has(Kind::Exporter, "filelog"));
        for (name, _) in WITHOUT_EFFECT {
            assert!(has(Kind::Extension, name), "{name}");
        }
    }

    #[test]
    fn every_list_is_plain_and_names_nothing_podgate_has() {
        for (kind, about) in crate::registry::about() {
            let names = std::iter::once(about.name).chain(about.aliases.iter().map(|alias| alias.name));
            for name in names {
                assert!(!has(kind, name), "{name} is podgate's");
            }
        }
        for names in [RECEIVERS, PROCESSORS, EXPORTERS, CONNECTORS, EXTENSIONS] {
            assert!(names.split_ascii_whitespace().all(|name| name == plain(name)), "{names}");
        }
    }
}
