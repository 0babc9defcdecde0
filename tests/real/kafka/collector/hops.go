//go:build hops

package main

import (
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/loadbalancingexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor"
)

func init() {
	processors = append(processors, tailsamplingprocessor.NewFactory())
	exporters = append(exporters, loadbalancingexporter.NewFactory())
}
