// A Collector of few stock components, for what stands beside podgate's Kafka parts in a test: OTLP and Kafka in, Kafka, OTLP, a file and
// nothing out. Built with the tag `hops` it has the sampler and the balancer too, see hops.go.
package main

import (
	"context"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kafkareceiver"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.uber.org/zap"
)

var (
	receivers  = []receiver.Factory{otlpreceiver.NewFactory(), kafkareceiver.NewFactory()}
	processors []processor.Factory
	exporters  = []exporter.Factory{
		kafkaexporter.NewFactory(), otlpexporter.NewFactory(), fileexporter.NewFactory(), nopexporter.NewFactory(),
	}
)

func logger(context.Context, telemetry.LoggerSettings, component.Config) (*zap.Logger, component.ShutdownFunc, error) {
	made, err := zap.NewProduction()
	return made, nil, err
}

func byType[F component.Factory](factories []F) map[component.Type]F {
	found := map[component.Type]F{}
	for _, factory := range factories {
		found[factory.Type()] = factory
	}
	return found
}

func components() (otelcol.Factories, error) {
	own := func() component.Config { return &struct{}{} }
	return otelcol.Factories{
		Receivers:  byType(receivers),
		Processors: byType(processors),
		Exporters:  byType(exporters),
		Telemetry:  telemetry.NewFactory(own, telemetry.WithCreateLogger(logger)),
	}, nil
}

func main() {
	files := confmap.ResolverSettings{
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()}, DefaultScheme: "file",
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo:              component.BuildInfo{Command: "kafka-peer", Description: "a Collector beside podgate", Version: "0.165.1"},
		Factories:              components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: files},
	})
	if command.Execute() != nil {
		os.Exit(1)
	}
}
