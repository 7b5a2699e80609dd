import { type Token, TokenRole } from "../../../../gen/drover/v1/token_service_pb.js";
import { allPages } from "../../api/all-pages.ts";
import { tokens } from "../../api/clients.ts";
import { isOperator, session, tokenIdOf } from "../../api/session.ts";
import { msOf, shortId } from "../../format.ts";
import { now } from "../../live/clock.ts";
import { useResource } from "../../live/resource.ts";
import { topics } from "../../live/topics.ts";
import { Action } from "../../parts/action.tsx";
import { Badge, Labels, Tag } from "../../parts/badge.tsx";
import { Empty } from "../../parts/empty.tsx";
import { Choice, Controls } from "../../parts/filters.tsx";
import { Panel } from "../../parts/panel.tsx";
import { ReadingView } from "../../parts/reading-view.tsx";
import { TimeAgo } from "../../parts/time-ago.tsx";
import { href, place } from "../../router.ts";
import { numberOf, roleWords, wordOf } from "../../words.ts";
import { EnrollForm } from "./enroll-form.tsx";
import { MintForm } from "./mint-form.tsx";

/** Credentials: mint, look, revoke. */
export function TokensView() {
  if (!isOperator.value) {
    return (
      <Empty icon="tokens" title="Tokens are for operators">
        <p>You are signed in as a viewer, who sees everything but credentials.</p>
      </Empty>
    );
  }
  return <OperatorTokens />;
}

function OperatorTokens() {
  const chosen = place.value.query.get("role") ?? "";
  const role = numberOf(roleWords, chosen);
  const list = useResource(
    `tokens ${chosen}`,
    async () =>
      await allPages(
        (page) => tokens.listTokens({ ...page, ...(role !== undefined && { role: [role] }) }),
        (page) => page.tokens,
        1,
      ),
    { everyMs: 5000, when: topics.tokens },
  );
  return (
    <>
      <h1>Tokens</h1>
      <div class="columns">
        <Panel title="Enroll an agent">
          <EnrollForm />
        </Panel>
        <Panel title="Mint another token">
          <MintForm onMinted={() => list.refresh()} />
        </Panel>
      </div>
      <Controls>
        <Choice label="Role" parameter="role" words={roleWords} all="Every role" />
      </Controls>
      <ReadingView of={list} rows={8}>
        {(found) =>
          found.length === 0 ? (
            <p class="nothing">There is no such token.</p>
          ) : (
            <div class="grid tokens-grid" role="table" aria-label="Tokens">
              <div class="grid-head" role="row">
                {["Token", "Role", "For", "State", "Last used", "Minted", "Action"].map((name) => (
                  <span key={name} role="columnheader">
                    {name === "Action" ? <span class="off-screen">{name}</span> : name}
                  </span>
                ))}
              </div>
              <div role="rowgroup">
                {found.map((token) => (
                  <TokenRow key={token.id} token={token} onDone={() => list.refresh()} />
                ))}
              </div>
            </div>
          )
        }
      </ReadingView>
    </>
  );
}

function TokenRow({ token, onDone }: { token: Token; onDone: () => void }) {
  const signedIn = session.value;
  const isMine = signedIn.kind === "signed-in" && tokenIdOf(signedIn.token) === token.id;
  const ended = stateOf(token) !== "in force";
  return (
    <div class={ended ? "grid-row faded" : "grid-row"} role="row">
      <span role="cell">
        <code title={token.id}>…{shortId(token.id)}</code>
        {isMine && <Tag tone="work">yours</Tag>}
      </span>
      <span role="cell">
        <Badge word={wordOf(roleWords, token.role)} />
      </span>
      <span role="cell" class="cell-wide">
        <Purpose token={token} />
      </span>
      <span role="cell">{stateOf(token)}</span>
      <span role="cell" class="number" data-narrow-head="used ">
        <TimeAgo time={token.lastUsedAt} />
      </span>
      <span role="cell" class="number" data-narrow-head="minted ">
        <TimeAgo time={token.createdAt} />
      </span>
      <span role="cell" class="cell-action">
        {!ended && (
          <Action
            label="Revoke"
            danger
            question="Revoke this token for good?"
            onDone={onDone}
            run={async () => {
              await tokens.revokeToken({ token: token.id });
              return "The token was revoked.";
            }}
          >
            <p>
              Within a second nothing of it is accepted, and streams that it opened end.
              {isMine && " It is the one that you are signed in with: you will be signed out."}
            </p>
          </Action>
        )}
      </span>
    </div>
  );
}

function Purpose({ token }: { token: Token }) {
  if (token.agent !== "") return <a href={href(["agents", token.agent])}>{token.agent}</a>;
  return (
    <>
      {token.role === TokenRole.ENROLLMENT && (
        <span class="number">
          {token.uses} of {token.maxUses} used
        </span>
      )}{" "}
      {Object.keys(token.labels).length > 0 && <Labels labels={token.labels} />}
    </>
  );
}

function stateOf(token: Token): string {
  if (token.revokedAt !== undefined) return "revoked";
  const endsMs = msOf(token.expiresAt);
  if (endsMs !== undefined && endsMs <= now.value) return "expired";
  if (token.role === TokenRole.ENROLLMENT && token.uses >= token.maxUses) return "used up";
  return "in force";
}
