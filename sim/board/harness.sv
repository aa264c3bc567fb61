// The simulated board for Icarus Verilog: the protocol of harness.cpp, on files named by +in= and +out=.
`timescale 1ns/1ps
module harness;
  localparam integer QUIET = 24;
  localparam integer ROOM = 1 << 22;

  reg clk = 0, rst = 1;
  reg [7:0] i_payload = 0;
  reg i_valid = 0;
  wire i_ready, o_valid, active, busy;
  wire [7:0] o_payload;
  top dut(.clk(clk), .rst(rst), .i__payload(i_payload), .i__valid(i_valid), .i__ready(i_ready),
          .o__payload(o_payload), .o__valid(o_valid), .o__ready(1'b1), .active(active), .busy(busy));

  reg [7:0] waiting [0:ROOM-1];
  reg [7:0] answer [0:ROOM-1];
  integer head = 0, tail = 0, size = 0, in, out, n, ended = 0;
  reg [1023:0] in_name, out_name, waves_name;
  reg [31:0] fed, wanted, flags;
  reg [63:0] limit, ran, quiet;
  reg given, waves;

  task get(output reg [63:0] value, input integer bytes);
    integer m, c;
    begin
      value = 0;
      for (m = 0; m < bytes && !ended; m = m + 1) begin
        c = $fgetc(in);
        if (c < 0) ended = 1;
        else value = value | ({56'd0, c[7:0]} << (8 * m));
      end
    end
  endtask

  task put(input reg [63:0] value, input integer bytes);
    integer m;
    for (m = 0; m < bytes; m = m + 1) begin
      $fwrite(out, "%c", value[7:0]);
      value = value >> 8;
    end
  endtask

  task tick;
    begin
      i_valid = head != tail;
      i_payload = waiting[head];
      #5;
      given = o_valid === 1'b1;
      if (given) begin
        answer[size] = o_payload;
        size = size + 1;
      end
      if (i_valid && i_ready === 1'b1) head = (head + 1) % ROOM;
      clk = 1;
      #5;
      clk = 0;
    end
  endtask

  reg [63:0] value;
  initial begin
    if (!$value$plusargs("in=%s", in_name) || !$value$plusargs("out=%s", out_name)) $finish;
    waves = $value$plusargs("waves=%s", waves_name);
    in = $fopen(in_name, "rb");
    out = $fopen(out_name, "wb");
    if (waves) begin
      $dumpfile(waves_name);
      $dumpvars(0, dut);
      $dumpoff;
    end
    for (n = 0; n < 4; n = n + 1) tick;
    rst = 0;
    while (!ended) begin
      get(value, 4); fed = value[31:0];
      get(value, 4); wanted = value[31:0];
      get(limit, 8);
      get(value, 4); flags = value[31:0];
      for (n = 0; n < fed && !ended; n = n + 1) begin
        get(value, 1);
        waiting[tail] = value[7:0];
        tail = (tail + 1) % ROOM;
      end
      if (!ended) begin
        if (waves && flags[0]) $dumpon;
        size = 0; ran = 0; quiet = 0;
        while (ran < limit && !(wanted != 0 && size >= wanted && quiet >= QUIET)) begin
          tick;
          quiet = given ? 0 : quiet + 1;
          ran = ran + 1;
        end
        if (waves && flags[0]) $dumpoff;
        put(ran, 8);
        put(size, 4);
        put({62'd0, busy === 1'b1, active === 1'b1 || head != tail}, 4);
        for (n = 0; n < size; n = n + 1) put(answer[n], 1);
        $fflush(out);
      end
    end
    $finish;
  end
endmodule
