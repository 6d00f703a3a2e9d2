package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqttv3 "github.com/eclipse/paho.mqtt.golang"
)

var errNoReply = errors.New("no reply")

// oldPaho runs the list by Eclipse's client for MQTT 3.1.1, at each quality.
func (c *counter) oldPaho(t *testing.T) {
	for qos := range byte(3) {
		c.serve(t, customer{"paho3", qos, formats, c.askOldPaho})
	}
}

func (c *counter) askOldPaho(id string, asks []ask) ([][]byte, error) {
	settle := func(token mqttv3.Token) error {
		if !token.WaitTimeout(patience) {
			return errNoReply
		}
		return token.Error()
	}
	options := mqttv3.NewClientOptions().AddBroker("tcp://" + c.mqtt).SetClientID(id).SetProtocolVersion(4).
		SetCleanSession(false).SetAutoReconnect(false)
	p := mqttv3.NewClient(options)
	if err := settle(p.Connect()); err != nil {
		return nil, err
	}
	defer p.Disconnect(0)
	arrived := make(chan []byte, len(asks))
	hear := func(_ mqttv3.Client, m mqttv3.Message) { arrived <- m.Payload() }
	if err := settle(p.Subscribe("bank/replies/"+id, 1, hear)); err != nil {
		return nil, err
	}
	var replies [][]byte
	for _, a := range asks {
		if err := settle(p.Publish("bank/ops", a.QoS, false, a.Payload)); err != nil {
			return nil, err
		}
		select {
		case reply := <-arrived:
			replies = append(replies, reply)
		case <-time.After(patience):
			return nil, errNoReply
		}
	}
	return replies, nil
}

// newPaho runs the list by Eclipse's client for MQTT 5, at each quality.
func (c *counter) newPaho(t *testing.T) {
	for qos := range byte(3) {
		c.serve(t, customer{"paho5", qos, formats, c.askNewPaho})
	}
}

// askNewPaho asks for its replies on a topic of its own, with correlation data.
func (c *counter) askNewPaho(id string, asks []ask) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := net.Dial("tcp", c.mqtt)
	if err != nil {
		return nil, err
	}
	arrived := make(chan *paho.Publish, len(asks))
	p := paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(m paho.PublishReceived) (bool, error) { arrived <- m.Packet; return true, nil },
		},
	})
	ack, err := p.Connect(ctx, &paho.Connect{ClientID: id, KeepAlive: 30, Properties: &paho.ConnectProperties{RequestResponseInfo: true}})
	if err != nil {
		return nil, err
	}
	defer p.Disconnect(&paho.Disconnect{})
	topic := ack.Properties.ResponseInfo + "/slip"
	if topic != "bank/replies/"+id+"/slip" {
		return nil, fmt.Errorf("the response information is %q", ack.Properties.ResponseInfo)
	}
	if _, err := p.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
		return nil, err
	}
	var replies [][]byte
	for i, a := range asks {
		about := &paho.PublishProperties{ResponseTopic: topic, CorrelationData: []byte(fmt.Sprint("slip ", i))}
		if _, err := p.Publish(ctx, &paho.Publish{Topic: "bank/ops", QoS: a.QoS, Payload: a.Payload, Properties: about}); err != nil {
			return nil, err
		}
		select {
		case m := <-arrived:
			if m.Topic != topic || string(m.Properties.CorrelationData) != string(about.CorrelationData) {
				return nil, fmt.Errorf("reply %d on %s, about %q", i, m.Topic, m.Properties.CorrelationData)
			}
			replies = append(replies, m.Payload)
		case <-ctx.Done():
			return nil, errNoReply
		}
	}
	return replies, nil
}
