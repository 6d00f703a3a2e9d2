package mqtt_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gateway/bank"
	"gateway/config"
	"gateway/transport/mqtt"
	"gateway/wire"

	"github.com/santhosh-tekuri/jsonschema/v6"
	pack "github.com/vmihailenco/msgpack/v5"
	"gopkg.in/yaml.v3"
)

// document is what asyncapi.yaml says, as far as it can be held against the code.
type document struct {
	Servers map[string]struct {
		Host    string
		Connack map[string]int `yaml:"x-connack"`
	}
	Channels   map[string]struct{ Address string }
	Components struct {
		ServerBindings struct {
			Client struct{ MQTT clientBinding }
		} `yaml:"serverBindings"`
		OperationBindings map[string]struct {
			MQTT struct {
				QoS    byte
				Retain bool
			}
		} `yaml:"operationBindings"`
		Messages map[string]struct {
			ContentType string `yaml:"contentType"`
			Examples    []example
		}
		MessageTraits map[string]struct {
			Examples []example
		} `yaml:"messageTraits"`
	}

	schemas *jsonschema.Compiler
}

// clientBinding is how a client does well to connect.
type clientBinding struct {
	ClientID              string                `yaml:"clientId"`
	SessionExpiryInterval uint32                `yaml:"sessionExpiryInterval"`
	MaximumPacketSize     struct{ Minimum int } `yaml:"maximumPacketSize"`
}

// example is an operation, or the reply to the operation of that name.
type example struct {
	Name    string
	Headers map[string]string
	Payload map[string]any
}

const atSchemas = "asyncapi.json#/components/schemas/"

func readDocument(t *testing.T) *document {
	t.Helper()
	page, err := os.ReadFile("../../asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := &document{schemas: jsonschema.NewCompiler()}
	var all any
	if err := yaml.Unmarshal(page, d); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(page, &all); err != nil {
		t.Fatal(err)
	}
	d.schemas.DefaultDraft(jsonschema.Draft7) // which AsyncAPI's own schema language is a superset of
	d.schemas.AssertFormat()
	if err := d.schemas.AddResource("asyncapi.json", plain(t, all)); err != nil {
		t.Fatal(err)
	}
	return d
}

// plain returns a value as JSON has it, its numbers exact.
func plain(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, string(text))
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func (d *document) schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	schema, err := d.schemas.Compile(atSchemas + name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// names returns an enumeration of a schema's property.
func (d *document) names(t *testing.T, schema, property string) (names []string) {
	t.Helper()
	for _, name := range d.schema(t, schema).Properties[property].Enum.Values {
		names = append(names, name.(string))
	}
	return names
}

func TestAsyncAPINamesWhatIsThere(t *testing.T) {
	d, settings := readDocument(t), config.Default()
	same := func(what string, says, is any) {
		t.Helper()
		if fmt.Sprint(says) != fmt.Sprint(is) {
			t.Errorf("asyncapi.yaml: %s: %v, but it is %v", what, says, is)
		}
	}
	same("operations", d.Channels["operations"].Address, settings.MQTT.OperationsTopic)
	own := strings.Replace(settings.MQTT.RepliesTopic, config.ClientID, "{clientId}", 1)
	same("replies", d.Channels["replies"].Address, own)
	same("the journal", d.Channels["journal"].Address, mqtt.JournalTopic)
	same("the journal", d.Channels["journal"].Address, config.JournalTopic)
	same("the heads", d.Channels["head"].Address, mqtt.HeadTopic)
	same("the heads", d.Channels["head"].Address, config.HeadTopic)
	for _, l := range settings.MQTT.Listeners {
		server := d.Servers[map[bool]string{false: "mqtt", true: "websocket"}[l.WebSocket]]
		same("host", server.Host, l.Address)
		same("maximumPacketSize", server.Connack["maximumPacketSize"], int(settings.Limits.Message))
		same("receiveMaximum", server.Connack["receiveMaximum"], settings.Limits.InFlight)
		same("serverKeepAlive", server.Connack["serverKeepAlive"], int(settings.Limits.IdleTimeout/time.Second))
	}
	var codes, kinds []string
	for _, code := range bank.Codes() {
		codes = append(codes, code.String())
	}
	for kind := bank.KindBalance; kind < bank.KindYield; kind++ {
		kinds = append(kinds, kind.String())
	}
	same("codes", d.names(t, "reply", "code"), codes)
	said := d.names(t, "canonicalMap", "op")
	slices.Sort(said)
	slices.Sort(kinds)
	same("operations", said, kinds)
	same("entries", d.names(t, "entry", "door"), []bank.Door{bank.DoorHouse, bank.DoorSocket, bank.DoorMQTT})
	same("entries", d.names(t, "entry", "kind"), []bank.Kind{
		bank.KindDeposit, bank.KindWithdraw, bank.KindTransfer, bank.KindOpen, bank.KindYield,
	})
	// The largest reply: topic, packet id, content type, correlation data and payload, each with its length before it.
	topic, correlation := *d.schema(t, "responseTopic").MaxLength, *d.schema(t, "correlationData").MaxLength
	largest := 1 + 2 + 2 + topic + 2 + 2 + 3 + len("application/vnd.msgpack") + 3 + correlation + wire.MaxReply
	same("the client's maximumPacketSize", d.Components.ServerBindings.Client.MQTT.MaximumPacketSize.Minimum, largest)
}

func TestAsyncAPIKnowsAHead(t *testing.T) {
	head, err := os.ReadFile("../../evidence/testdata/head.txt")
	if err != nil {
		t.Fatal(err)
	}
	schema := readDocument(t).schema(t, "head")
	if err := schema.Validate(string(head)); err != nil {
		t.Error(err)
	}
	if err := schema.Validate(strings.Replace(string(head), "seq", "Seq", 1)); err == nil {
		t.Error("what is no head is one by asyncapi.yaml")
	}
}

func TestAsyncAPITellsTheConnack(t *testing.T) {
	d, h := readDocument(t), build(t, nil)
	properties := map[string]byte{
		"serverKeepAlive": 0x13, "receiveMaximum": 0x21, "maximumPacketSize": 0x27, "retainAvailable": 0x25,
		"subscriptionIdentifiersAvailable": 0x29, "sharedSubscriptionAvailable": 0x2a,
	}
	_, ack := enter(t, h.address, hello{id: "c"})
	for name, server := range d.Servers {
		if len(server.Connack) != len(properties) || len(ack.properties) != len(properties) {
			t.Errorf("server %s: %v, but the CONNACK has %v", name, server.Connack, ack.properties)
		}
		for property, id := range properties {
			if says := server.Connack[property]; fmt.Sprint(says) != fmt.Sprint(ack.properties[id]) {
				t.Errorf("server %s: %s: %d, but the CONNACK has %v", name, property, says, ack.properties[id])
			}
		}
	}
	client := d.Components.ServerBindings.Client.MQTT
	for _, asked := range []uint32{client.SessionExpiryInterval, client.SessionExpiryInterval + 1} {
		_, ack := enter(t, h.address, hello{id: client.ClientID, properties: property(0x11, asked)})
		granted, said := ack.properties[0x11]
		if said != (asked > client.SessionExpiryInterval) || said && granted != client.SessionExpiryInterval {
			t.Errorf("session expiry %d: granted %v", asked, granted)
		}
	}
}

func TestAsyncAPIKnowsAClientID(t *testing.T) {
	d, h := readDocument(t), build(t, nil)
	schema := d.schema(t, "clientId")
	for _, id := range []string{
		"a", "0", ".", "A-z_0:9.", strings.Repeat("x", 64), strings.Repeat("x", 65), "a b", "a/b", "a@b", "a+b", "#", "ü",
	} {
		ack := call(t, h.address).greet(hello{id: id})
		if valid := schema.Validate(id) == nil; valid != (ack.reason == 0) || !valid && ack.reason != 0x85 {
			t.Errorf("client id %q: valid in asyncapi.yaml: %v, CONNACK 0x%02x", id, valid, ack.reason)
		}
	}
}

// Every example is sent, in every format, and its answer is the example of that name to the letter.
func TestAsyncAPIExamplesAreAnswered(t *testing.T) {
	d := readDocument(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	operations, replies := d.Components.MessageTraits["operation"].Examples, d.Components.MessageTraits["reply"].Examples
	if len(operations) < 15 || len(operations) != len(replies) {
		t.Fatalf("asyncapi.yaml shows %d operations and %d replies", len(operations), len(replies))
	}
	for name, message := range d.Components.Messages {
		if !strings.HasPrefix(name, "operation") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			address := ours(t, bank.NewMemory(bank.Rules{CreateAccounts: true}, func() time.Time { return now }))
			client := d.Components.ServerBindings.Client.MQTT.ClientID
			own := strings.Replace(d.Channels["replies"].Address, "{clientId}", client, 1)
			p, _ := enter(t, address, hello{id: client})
			p.subscribe(1, own+"/#", 1)
			for i, operation := range operations {
				d.try(t, p, own, message.ContentType, operation, replies[i])
			}
		})
	}
}

// While every operation of the document is sent, an auditor is told its entries, and what it is told fits the schema.
func TestAsyncAPIEntriesAreTold(t *testing.T) {
	d := readDocument(t)
	a := auditing(t, nil)
	audit, _ := enter(t, a.address, hello{id: "audit"})
	audit.subscribe(1, d.Channels["journal"].Address, 1)
	p := listening(t, a.address, hello{id: d.Components.ServerBindings.Client.MQTT.ClientID})
	seqs := map[string]uint64{} // by the name of the operation
	for _, operation := range d.Components.MessageTraits["operation"].Examples {
		payload, err := json.Marshal(operation.Payload)
		if err != nil {
			t.Fatal(err)
		}
		p.publish(note{qos: 1, id: 1, payload: string(payload)})
		p.expect(tPuback)
		r, _ := p.reply(1)
		seqs[operation.Name] = r.Seq
	}
	message, schema := d.Components.Messages["entry"], d.schema(t, "entry")
	told := map[uint64]map[string]any{}
	for seq := uint64(1); seq <= a.journal.Seq(); seq++ {
		k := audit.entry(seq)
		audit.puback(k.id)
		if err := schema.Validate(parsed(t, string(k.payload))); err != nil || k.properties[0x03] != message.ContentType {
			t.Errorf("%s, %v: %v", k.payload, k.properties, err)
		}
		told[seq] = plain(t, json.RawMessage(k.payload)).(map[string]any)
	}
	if len(message.Examples) < 4 {
		t.Errorf("%d examples", len(message.Examples))
	}
	for _, example := range message.Examples {
		want, got := plain(t, example.Payload).(map[string]any), told[seqs[example.Name]]
		if err := schema.Validate(want); err != nil || got == nil {
			t.Errorf("%s: %v, told %v", example.Name, err, got)
		}
		for _, always := range []string{"time", "peer", "hash"} { // are others
			delete(want, always)
			delete(got, always)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\nasyncapi.yaml: %v\nthe gateway:   %v", example.Name, want, got)
		}
	}
}

// try sends an operation of the document and compares the reply.
func (d *document) try(t *testing.T, p *peer, own, contentType string, operation, want example) {
	t.Helper()
	if operation.Name != want.Name {
		t.Fatalf("operation %q stands beside reply %q", operation.Name, want.Name)
	}
	bytes, err := marshal(contentType, operation.Payload)
	if err != nil {
		t.Fatal(err)
	}
	binding := d.Components.OperationBindings["once"].MQTT
	sent := note{qos: binding.QoS, id: 1, topic: d.Channels["operations"].Address, payload: string(bytes)}
	sent.properties = property(0x03, contentType)
	if topic, given := operation.Headers["responseTopic"]; given {
		sent.properties = join(sent.properties, property(0x08, topic))
		if strings.HasPrefix(topic, own) {
			own = topic
		}
	}
	correlation, correlated := operation.Headers["correlationData"]
	if correlated {
		sent.properties = join(sent.properties, property(0x09, correlation))
	}
	p.publish(sent)
	p.expect(tPuback)
	k := p.expect(tPublish)
	p.puback(k.id)
	got, err := unmarshal(contentType, k.payload)
	if err != nil {
		t.Fatalf("%s: %q: %v", want.Name, k.payload, err)
	}
	if is, says := fmt.Sprint(plain(t, got)), fmt.Sprint(plain(t, want.Payload)); is != says {
		t.Errorf("%s:\nasyncapi.yaml: %s\nthe gateway:   %s", want.Name, says, is)
	}
	echo, echoed := k.properties[0x09]
	if k.topic != own || k.qos() != binding.QoS || k.flags&1 == 1 != binding.Retain || k.properties[0x03] != contentType ||
		correlated != echoed || correlated && (echo != correlation || want.Headers["correlationData"] != correlation) {
		t.Errorf("%s: replied on %s, flags %x, with %v", want.Name, k.topic, k.flags, k.properties)
	}
	for _, check := range []struct {
		schema string
		value  any
	}{{"operation", operation.Payload}, {"reply", want.Payload}, {"reply", got}} {
		if err := d.schema(t, check.schema).Validate(plain(t, check.value)); err != nil {
			t.Errorf("%s: %v: %v", want.Name, check.value, err)
		}
	}
	for name, value := range operation.Headers {
		if err := d.schema(t, name).Validate(value); err != nil {
			t.Errorf("%s: %v", want.Name, err)
		}
	}
}

func marshal(contentType string, payload map[string]any) ([]byte, error) {
	if contentType == "application/json" {
		return json.Marshal(payload)
	}
	return pack.Marshal(payload)
}

func unmarshal(contentType string, payload []byte) (fields map[string]any, err error) {
	if contentType == "application/json" {
		return fields, json.Unmarshal(payload, &fields)
	}
	return fields, pack.Unmarshal(payload, &fields)
}

// usualReply is the most bytes that replies have, by DEVICES.md, as long as nobody promises it.
const usualReply = 300

// A message that the schema lets through is one that the bank judges; one that it does not is refused for what it is.
func TestAsyncAPISchemasAreTheCodecs(t *testing.T) {
	d, h := readDocument(t), build(t, nil)
	schema, replies := d.schema(t, "operation"), d.schema(t, "reply")
	shapeless := []string{"malformed", "unknown_operation", "invalid_account", "invalid_amount", "invalid_id"}
	p := listening(t, h.address, hello{id: "c"})
	for _, payload := range oddMessages() {
		p.publish(note{qos: 1, id: 1, payload: payload})
		p.expect(tPuback)
		a, k := p.reply(1)
		if err := replies.Validate(parsed(t, string(k.payload))); err != nil || len(k.payload) > usualReply {
			t.Errorf("%d bytes: %s: %v", len(k.payload), k.payload, err)
		}
		if err := schema.Validate(parsed(t, payload)); (err != nil) != slices.Contains(shapeless, a.Code) {
			t.Errorf("%s is %s, and in asyncapi.yaml it is: %v", payload, a.Code, err)
		}
	}
	if n := h.entries(); n < 20 {
		t.Errorf("only %d messages were operations", n)
	}
}

// oddMessages returns messages at the borders of what an operation is, on both sides of each.
func oddMessages() (all []string) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, amount := range []string{
		`1`, `0`, `-1`, `1.5`, `0.01`, `0.001`, `1.25`, `1.255`, `90071992547409.91`, `90071992547409.92`, `90071992547409`,
		`90071992547410`, `"1"`, `"0"`, `"0.00"`, `"0.01"`, `"00"`, `"01"`, `"-1"`, `"+1"`, `"1."`, `".5"`, `"1e2"`, `"1.255"`,
		`""`, `" 1"`, `"90071992547409.91"`, `null`, `true`, `[]`, `{}`,
	} {
		all = append(all, `{"op":"deposit","account":"a","amount":`+amount+`}`)
		all = append(all, `{"classe":"Deposito","objeto":{"id_pessoa":"a","valor":`+amount+`}}`)
	}
	for _, name := range []string{
		`"a"`, `"A.b_c:d@e-f"`, `"` + long(64) + `"`, `"` + long(65) + `"`, `""`, `"@cash"`, `"-a"`, `"a b"`, `"é"`, `7`,
		`null`, `{}`,
	} {
		all = append(all, `{"op":"balance","account":`+name+`}`, `{"op":"open","account":`+name+`}`)
		all = append(all, `{"op":"transfer","account":"a","amount":1,"to":`+name+`}`)
		all = append(all, `{"classe":"Saldo","objeto":{"id_pessoa":`+name+`}}`)
		all = append(all, `{"classe":"Transferencia","objeto":{"id_pessoa":"a","valor":1,"id_pessoa_d":`+name+`}}`)
		all = append(all, `{"op":"status","id":`+name+`}`, `{"op":"balance","account":"a","id":`+name+`}`)
	}
	return append(all,
		`{}`, `{"op":"deposit"}`, `{"op":"steal","account":"a"}`, `{"op":null,"account":"a"}`, `{"op":"status"}`,
		`{"op":"balance","account":"a","amount":1}`, `{"op":"deposit","account":"a","amount":1,"to":"b"}`,
		`{"op":"status","id":"x","account":"a"}`, `{"op":"status","id":"x","memo":"m"}`, `{"op":"balance","account":"a","more":1}`,
		`{"Op":"balance","account":"a"}`, `{"op":"balance","account":"a","classe":"Saldo"}`, `{"classe":"Saldo"}`,
		`{"classe":"Soldo","objeto":{"id_pessoa":"a"}}`, `{"classe":"Saldo","objeto":{}}`, `{"classe":"Saldo","objeto":[]}`,
		`{"classe":"Saldo","objeto":{"id_pessoa":"a","conta":null,"x":1.5,"y":true,"valor":"any"}}`,
		`{"classe":"Saldo","objeto":{"id_pessoa":"a","conta":{}}}`, `{"classe":"Saldo","objeto":{"id_pessoa":"a","valor":{}}}`,
		`{"classe":"Saque","objeto":{"id_pessoa":"a"}}`, `{"classe":"Saldo","objeto":{"id_pessoa":"a"},"x":1}`,
		`{"op":"balance","account":"a","memo":"`+long(140)+`"}`, `{"op":"balance","account":"a","memo":"`+long(141)+`"}`,
		`{"op":"balance","account":"a","memo":7}`, `{"op":"balance","account":"a","id":"a b~"}`,
		`{"op":"balance","account":"a","id":"\t"}`,
	)
}

// What MQTT 5 carries beside the payload has the limits that the document gives it.
func TestAsyncAPIHeadersAreTheServers(t *testing.T) {
	d, h := readDocument(t), build(t, nil)
	p, _ := enter(t, h.address, hello{id: "c"})
	p.subscribe(1, "bank/replies/c/#", 1)
	under := "bank/replies/c/"
	for _, c := range []struct {
		schema   string
		property byte
		value    string
		code     string
	}{
		{"correlationData", 0x09, "", "ok"},
		{"correlationData", 0x09, strings.Repeat("x", 512), "ok"},
		{"correlationData", 0x09, strings.Repeat("x", 513), "too_large"},
		{"responseTopic", 0x08, "bank/replies/c", "ok"},
		{"responseTopic", 0x08, under, "ok"},
		{"responseTopic", 0x08, under + "x/y", "ok"},
		{"responseTopic", 0x08, under + strings.Repeat("x", 256-len(under)), "ok"},
		{"responseTopic", 0x08, under + strings.Repeat("x", 257-len(under)), "forbidden"},
		{"responseTopic", 0x08, under + "#", "forbidden"},
		{"responseTopic", 0x08, under + "+/x", "forbidden"},
		{"responseTopic", 0x08, "bank/replies", "forbidden"},
		{"responseTopic", 0x08, "bank/ops", "forbidden"},
	} {
		p.publish(note{qos: 1, id: 1, properties: property(c.property, c.value), payload: `{"op":"balance","account":"a"}`})
		p.expect(tPuback)
		a, _ := p.reply(1)
		if valid := d.schema(t, c.schema).Validate(c.value) == nil; a.Code != c.code || valid != (a.Code == "ok") {
			t.Errorf("%s of %d bytes: %s, valid in asyncapi.yaml: %v", c.schema, len(c.value), a.Code, valid)
		}
	}
}
