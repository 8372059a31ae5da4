import { Button, PasswordInput, TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, type FormEvent } from "react";
import { ApiError } from "../api/client";
import { sessionQuery, signIn } from "../api/queries";
import { t } from "../text";
import css from "./SignInPage.module.css";

function refusal(error: Error): string {
  if (!(error instanceof ApiError)) return t.error.failed(error.message);
  if (error.unreachable) return t.error.unreachable;
  if (error.status === 429) return t.signIn.locked;
  return error.unauthenticated ? t.signIn.wrong : t.error.failed(error.message);
}

export function SignInPage({ ended }: { ended: boolean }) {
  const queryClient = useQueryClient();
  const attempt = useMutation({
    mutationFn: ({ username, password }: { username: string; password: string }) => signIn(username, password),
    onSuccess: (session) => {
      // Whatever another user of this browser has read must not be shown to this one.
      queryClient.removeQueries({ predicate: (query) => query.queryKey[0] !== sessionQuery.queryKey[0] });
      queryClient.setQueryData(sessionQuery.queryKey, session);
    },
    networkMode: "always",
  });
  useEffect(() => {
    document.title = t.title(t.signIn.heading);
  }, []);
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    attempt.mutate({ username: String(form.get("username")), password: String(form.get("password")) });
  };
  return (
    <main className={css["page"]}>
      <form className={`panel ${css["form"]}`} onSubmit={submit}>
        <div className={css["brand"]}>
          <img src="/favicon.svg" alt="" width={28} height={28} /> {t.product}
        </div>
        <h1>{t.signIn.heading}</h1>
        {ended && attempt.isIdle && <p role="status">{t.signIn.ended}</p>}
        <TextInput name="username" label={t.signIn.username} autoComplete="username" required withAsterisk={false} autoFocus />
        <PasswordInput name="password" label={t.signIn.password} autoComplete="current-password" required withAsterisk={false} />
        {attempt.isError && (
          <p role="alert" className={css["refused"]}>
            {refusal(attempt.error)}
          </p>
        )}
        <Button type="submit" loading={attempt.isPending}>
          {t.signIn.submit}
        </Button>
      </form>
    </main>
  );
}
