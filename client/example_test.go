package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"gateway/bank"
	"gateway/client"
)

// A gateway's default listeners take one operation per connection; a Client does so unless told otherwise.
func ExampleNewSocket() {
	g, stop := startGateway(log.Fatal)
	defer stop()

	c, err := client.NewSocket(g.single, client.SocketOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	for _, op := range []client.Operation{
		{Kind: bank.KindDeposit, Account: "ana", Amount: "20.00"},
		{Kind: bank.KindTransfer, Account: "ana", To: "bia", Amount: "12.50", Memo: "lunch"},
		{Kind: bank.KindWithdraw, Account: "ana", Amount: "10"},
	} {
		reply, err := c.Do(ctx, op)
		switch {
		case err != nil:
			log.Fatal(err)
		case !reply.Done():
			fmt.Println(op.Kind, "refused:", reply.Code)
		default:
			fmt.Println(op.Kind, "done, ana has", reply.Balance)
		}
	}
	// Output:
	// deposit done, ana has 20.00
	// transfer done, ana has 7.50
	// withdraw refused: insufficient_funds
}

// The same operations over MQTT 5.
func ExampleNewMQTT() {
	g, stop := startGateway(log.Fatal)
	defer stop()

	c, err := client.NewMQTT(g.broker, client.MQTTOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	reply, err := c.Do(ctx, client.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: "20.00"})
	fmt.Println(reply.Code, reply.Balance, err)
	// Output:
	// ok 20.00 <nil>
}

// With an id of one's own, an operation may be repeated by another process, too: it happens once.
func ExampleClient_Do_once() {
	g, stop := startGateway(log.Fatal)
	defer stop()

	for range 2 {
		c, err := client.NewSocket(g.session, client.SocketOptions{Session: true})
		if err != nil {
			log.Fatal(err)
		}
		op := client.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: "20.00", ID: "salary/2026-11"}
		reply, err := c.Do(context.Background(), op)
		fmt.Println(reply.Code, reply.Balance, "duplicate:", reply.Duplicate, err)
		c.Close()
	}
	// Output:
	// ok 20.00 duplicate: false <nil>
	// ok 20.00 duplicate: true <nil>
}

// An error tells whether the operation may have happened.
func ExampleUnknownError() {
	c, err := client.NewSocket("127.0.0.1:1", client.SocketOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()

	_, err = c.Do(ctx, client.Operation{Kind: bank.KindDeposit, Account: "ana", Amount: "20.00"})
	var unknown *client.UnknownError
	switch {
	case errors.As(err, &unknown):
		fmt.Println("it may have happened; ask for the status of", unknown.ID)
	case errors.Is(err, client.ErrNotSent):
		fmt.Println("it surely did not happen")
	}
	// Output:
	// it surely did not happen
}
