package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
)

// stub is grpc-go with the published stubs and every option at its default but keepalive, which is as fast as it may be.
type stub struct {
	conn    *grpc.ClientConn
	client  collector.TraceServiceClient
	request *collector.ExportTraceServiceRequest
}

func openGRPC(to string, wire *wire) (sender, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(wire.dial),
	}
	if authority != "" {
		var err error
		if options, err = secure(); err != nil {
			return nil, err
		}
	}
	options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: fastestKeepalive, PermitWithoutStream: true}))
	conn, err := grpc.NewClient("passthrough:///"+to, options...)
	if err != nil {
		return nil, err
	}
	return &stub{conn, collector.NewTraceServiceClient(conn), request()}, nil
}

func (s *stub) send(ctx context.Context) error {
	_, err := s.client.Export(ctx, s.request)
	return err
}

func (s *stub) close() {
	_ = s.conn.Close()
}

func request() *collector.ExportTraceServiceRequest {
	spans := make([]*trace.Span, spansPerRequest)
	for number := range spans {
		spans[number] = &trace.Span{
			TraceId: traceID[:], SpanId: []byte{1, 2, 3, 4, 5, 6, 7, byte(number + 1)},
			Name: "GET /", Kind: trace.Span_SPAN_KIND_SERVER, StartTimeUnixNano: 1, EndTimeUnixNano: 2,
		}
	}
	name := &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: "shop"}}
	attributes := []*common.KeyValue{{Key: "service.name", Value: name}}
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: attributes},
		ScopeSpans: []*trace.ScopeSpans{{Spans: spans}},
	}}}
}
